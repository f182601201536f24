"""How files are to be read, where looking inside them does not tell."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Choices that hold for every file that is read.

    Args:
        layout: Name of the layout, instead of the first that fits.
        transpose: Whether the axes of time and channels are the other way round: `(C, T)`, and
            `(N, C, T)`.
        min_likelihood: Points of a pose that are less likely than this are missing.
        allow_external: Whether a file may fetch data from other files.

    Raises:
        ValueError: if the likelihood is not a share.
    """

    layout: str | None = None
    transpose: bool = False
    min_likelihood: float = 0.9
    allow_external: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_likelihood <= 1:
            raise ValueError(
                f"min_likelihood is {self.min_likelihood!r}, expected a number in [0, 1]."
            )
