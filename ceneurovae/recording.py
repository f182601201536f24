"""One recording in memory: what every reader gives and everything after it takes."""

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Values of all channels over time, NaN where nothing was observed.

    Args:
        name: Unique among the recordings used together.
        values: `(T, C)`, raw units; kept as float32.
        channels: `C` unique names.
        rate_hz: Samples per second, `None` where the file does not tell.
        breaks: Samples, ascending, at which a new uninterrupted stretch begins. No window
            crosses one.
        window_len: Length of the windows that the file holds, `None` if it holds recordings.
        path: File it was read from, `None` for an array in memory.

    Raises:
        ValueError: if shapes and names do not agree or a value is infinite.
    """

    name: str
    values: np.ndarray
    channels: tuple[str, ...]
    rate_hz: float | None = None
    breaks: np.ndarray = ()
    window_len: int | None = None
    path: Path | None = None

    def __post_init__(self):
        values = self.values
        if values.ndim != 2 or values.shape[1] != len(self.channels):
            raise ValueError(
                f"Recording '{self.name}' has values of shape {values.shape}, expected (T, C) "
                f"with C = {len(self.channels)} channels."
            )
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, dtype="float32")
        infinite = np.isinf(values)
        if infinite.any():
            sample, channel = np.argwhere(infinite)[0]
            raise ValueError(
                f"Recording '{self.name}', channel '{self.channels[channel]}' is infinite in "
                f"{infinite[:, channel].sum()} samples, the first at {sample}. Replace them by "
                "NaN, which means missing, or leave the channel out."
            )
        breaks = np.asarray(self.breaks, dtype="int64")
        if breaks.size and not (
            breaks[0] > 0 and breaks[-1] < len(values) and (np.diff(breaks) > 0).all()
        ):
            raise ValueError(
                f"Recording '{self.name}' has breaks {breaks.tolist()}, expected ascending "
                f"samples between 1 and {len(values) - 1}."
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "breaks", breaks)
        object.__setattr__(self, "channels", tuple(self.channels))

    @property
    def stretches(self):
        """Uninterrupted stretches of time, `(n, 2)`: first sample, and one past the last."""
        edges = np.concatenate([[0], self.breaks, [len(self.values)]])
        return np.stack([edges[:-1], edges[1:]], axis=1)

    @classmethod
    def from_windows(cls, name, values, channels, **fields):
        """A recording out of windows `(N, T, C)`, each a stretch of its own."""
        count, steps = values.shape[:2]
        return cls(
            name,
            values.reshape(count * steps, -1),
            channels,
            breaks=np.arange(1, count) * steps,
            window_len=steps,
            **fields,
        )


def as_recordings(data):
    """`data` as a list of recordings.

    Args:
        data: Recordings, or an array `(T, C)` or `(N, T, C)`, or a list of such arrays.

    Raises:
        ValueError: if an array has another rank.
    """
    if isinstance(data, (Recording, np.ndarray)):
        data = [data]
    return [
        item if isinstance(item, Recording) else _from_array(f"array {i}", np.asarray(item))
        for i, item in enumerate(data)
    ]


def _from_array(name, values):
    channels = [str(channel) for channel in range(values.shape[-1] if values.ndim else 0)]
    if values.ndim == 2:
        return Recording(name, values, channels)
    if values.ndim == 3:
        return Recording.from_windows(name, values, channels)
    raise ValueError(
        f"Received an array of shape {values.shape}, expected a recording (T, C) or windows "
        "(N, T, C)."
    )
