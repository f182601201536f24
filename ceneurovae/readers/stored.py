"""Values that stay on disk until they are sliced."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ceneurovae.hints import Array
from ceneurovae.readers.layouts import open_sources
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Selection, Source


@dataclasses.dataclass(frozen=True)
class StoredValues:
    """Chosen channels of a recording in a file: `(T, C)`, float32 rows where they are sliced.

    Every opening has a file handle of its own, so that threads and forks share none.

    Args:
        path: File.
        options: `ReadOptions`.
        name: Name of the recording.
        channels: Names of the `C` channels; NaN for those that it does not have.
        shape: `(T, C)`.
        rows_per_chunk: Samples that are best read together.
    """

    path: Path
    options: ReadOptions
    name: str
    channels: tuple[str, ...]
    shape: tuple[int, int]
    rows_per_chunk: int = 1

    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    @contextmanager
    def opened(self) -> Iterator[Selection]:
        """A context with the values, read where they are sliced.

        Raises:
            ValueError: if the file no longer holds them.
        """
        with open_sources(self.path, self.options) as (_, sources):
            yield self.select({source.name: source for source in sources})

    def select(self, sources: dict[str, Source]) -> Selection:
        """The values among the `Source`s, by name, of its file, open now.

        Raises:
            ValueError: if they are not there.
        """
        selection = None
        if self.name in sources:
            selection = sources[self.name].select(self.channels)
        if selection is None or selection.shape != self.shape:
            raise ValueError(f"'{self.path}' has changed since it was opened first.")
        return selection

    def __getitem__(self, rows: slice) -> Array:
        with self.opened() as values:
            return values[rows]
