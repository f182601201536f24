"""One NumPy array in a file of its own, read in place."""

from pathlib import Path

import numpy as np

from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import MOST_CHANNELS, Block, Source
from ceneurovae.readers.table import transposed

NAME = "npy"
MAGIC = b"\x93NUMPY"


def matches(path: Path) -> bool:
    """Whether the file begins as an NPY file does."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def sources(path: Path, stem: str, options: ReadOptions) -> list[Source]:
    """The file as one recording, `(T, C)`, or windows `(N, T, C)`; channels are numbered."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises whatever its text happens to mean
        raise ValueError(f"'{path}' is no NPY file that can be read: {error}.") from error
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2, 3) or not array.size:
        raise ValueError(
            f"'{path}' holds {array.dtype} of shape {array.shape}, expected numbers (T, C) or "
            "(N, T, C)."
        )
    table = transposed(array) if options.transpose else array
    if table.shape[-1] > MOST_CHANNELS and table.ndim > 1:
        raise ValueError(
            f"'{path}' has {table.shape[-1]} channels, expected at most {MOST_CHANNELS}. If time "
            "is the last axis, pass transpose=True (--transpose)."
        )
    return [Source(stem, (Block.of("data", table),), default=("data",))]
