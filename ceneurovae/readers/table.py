"""Tables on disk whose rows are read, and put right, when they are asked for.

A table is what has a `shape` and gives rows for a slice of its first axis, which is time, or for
windows `(N, T, C)` their number: an `h5py.Dataset`, a NumPy array, or a `Table`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ceneurovae.hints import Array


class Table:
    """Rows that are computed from datasets.

    Args:
        shape: `(T,)`, `(T, C)` or `(N, T, C)`.
        read: Function of the first row and one past the last that gives the rows.
        chunks: Shape of the pieces in which it is best read, or `None`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        read: Callable[[int, int], Array],
        chunks: Sequence[int] | None = None,
    ) -> None:
        self.shape = tuple(shape)
        self.ndim = len(self.shape)
        self.chunks = chunks
        self._read = read

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        return self._read(start, stop)


def transposed(dataset: Any) -> Any:
    """`(C, T)` as `(T, C)`, and `(N, C, T)` as `(N, T, C)`."""
    if dataset.ndim == 1:
        return dataset
    shape = (*dataset.shape[:-2], dataset.shape[-1], dataset.shape[-2])
    chunks = getattr(dataset, "chunks", None)
    if chunks:
        chunks = (*chunks[:-2], chunks[-1], chunks[-2])
    if dataset.ndim == 2:
        return Table(shape, lambda a, b: dataset[:, a:b].T, chunks)
    return Table(shape, lambda a, b: dataset[a:b].swapaxes(1, 2), chunks)


def masked(table: Any, observed: Any) -> Table:
    """`table` with NaN wherever the table `observed` is zero; it may lack the last axis."""

    def read(start: int, stop: int) -> Array:
        values = np.array(table[start:stop], dtype=np.result_type(table[0:1].dtype, "float32"))
        seen = np.asarray(observed[start:stop], dtype=bool)
        values[~seen] = np.nan  # where `seen` lacks the last axis, in all of it
        return values

    return Table(table.shape, read, getattr(table, "chunks", None))


def rows_per_chunk(table: Any) -> int:
    """Rows that are best read together."""
    chunks = getattr(table, "chunks", None)
    return chunks[0] if chunks else 1
