"""The order in which windows are gone through, and reading them in it.

Both are functions of the seed and the epoch alone. Windows in memory are shuffled as a whole.
Windows on disk are read in regions, contiguous stretches of half a mebibyte: the regions are
shuffled, some are held at a time, and all windows of those are shuffled together.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from ceneurovae.buffers import Buffers
from ceneurovae.hints import Array
from ceneurovae.recording import Recording
from ceneurovae.windows import Windows, copy_windows

REGION_BYTES = 1 << 19
POOL_BYTES = 1 << 24
OPEN_AT_ONCE = 64


def window_batches(
    windows: Windows,
    size: int,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    buffers: Buffers | None = None,
) -> Iterator[Array]:
    """The values of all windows in the order of an epoch, `(size, T, C)`; the last may be smaller.

    Args:
        windows: `Windows`.
        size: Windows in a batch.
        shuffle: Whether to shuffle them; else they come in their own order.
        seed: Whole number; with `epoch`, decides the order.
        epoch: Whole number.
        buffers: `Buffers` that the memory is taken from.
    """
    rng = np.random.default_rng([seed, epoch]) if shuffle else None
    shape = (windows.seq_len, len(windows.channels))
    buffers = buffers or Buffers()
    if windows.in_memory:
        order = np.arange(len(windows)) if rng is None else rng.permutation(len(windows))
        for first in range(0, len(order), size):
            indices = order[first : first + size]
            yield windows.gather(indices, out=buffers.take((len(indices), *shape)))
        return
    left, batch, filled = len(windows), None, 0
    for values, starts in _pools(windows, rng, buffers):
        first = 0
        while first < len(starts):
            if batch is None:
                batch = buffers.take((min(size, left), *shape))
            taken = min(len(batch) - filled, len(starts) - first)
            copy_windows(values, starts[first : first + taken], batch[filled : filled + taken])
            first, filled = first + taken, filled + taken
            if filled == len(batch):
                left -= filled
                yield batch
                batch, filled = None, 0
        del values  # its memory is for the pool after the next


def _pools(
    windows: Windows, rng: np.random.Generator | None, buffers: Buffers
) -> Iterator[tuple[Array, Array]]:
    """Values `(n, C)` of some regions at a time, and the starts of all windows in them.

    The next pool is read in a thread of its own while one is used.
    """
    regions = region_table(windows)
    if rng is not None:
        regions = regions[rng.permutation(len(regions))]
    rows = regions[:, 2] - regions[:, 1]
    pool = np.cumsum(rows) * 4 * len(windows.channels) // POOL_BYTES
    groups = np.split(regions, np.flatnonzero(np.diff(pool)) + 1)
    with ExitStack() as stack:
        # Left last to first: the thread ends before the files are closed.
        files = stack.enter_context(_OpenFiles(windows.recordings))
        thread = stack.enter_context(ThreadPoolExecutor(1))
        ahead = thread.submit(_read, groups[0], windows, files, buffers)
        for following in [*groups[1:], None]:
            values, starts = ahead.result()
            if following is not None:
                ahead = thread.submit(_read, following, windows, files, buffers)
            yield values, starts if rng is None else rng.permutation(starts)


def _read(
    regions: Array, windows: Windows, files: "_OpenFiles", buffers: Buffers
) -> tuple[Array, Array]:
    """The values of regions, one after the other, and where windows start in them."""
    rows = regions[:, 2] - regions[:, 1]
    values = buffers.take((int(rows.sum()), len(windows.channels)))
    starts = []
    for (recording, first, last, step), offset in zip(regions, np.cumsum(rows) - rows, strict=True):
        read_rows(files[recording], first, last, values[offset : offset + last - first])
        starts.append(offset + np.arange(0, last - first - windows.seq_len + 1, step))
    return values, np.concatenate(starts)


def read_rows(values: Any, first: int, last: int, out: Array) -> None:
    """Copies rows of an array, or of what is on disk, into `out` `(n, C)`."""
    if isinstance(values, np.ndarray):
        out[:] = values[first:last]
    else:
        values.read_into(out, first, last)


def region_table(windows: Windows) -> Array:
    """`(n, 4)`: recording, first row, one past the last row, and step of the windows within.

    Regions begin where the chunks of the file do, so that hardly any chunk is unpacked twice.
    """
    regions = []
    for recording, first, count, step in windows.runs:
        values = windows.recordings[recording].values
        chunk = getattr(values, "rows_per_chunk", 1)
        least = max(REGION_BYTES // (4 * len(windows.channels)), 4 * windows.seq_len)
        rows = -(-least // chunk) * chunk
        last = first + (count - 1) * step
        edges = np.arange(first // rows, last // rows + 2) * rows
        # The first window at or after each edge.
        window = np.clip(-((first - edges) // step), 0, count)
        begin, end = window[:-1], window[1:]
        begin, end = begin[end > begin], end[end > begin]
        start = first + begin * step
        stop = first + (end - 1) * step + windows.seq_len
        regions.append(
            np.stack([np.full_like(start, recording), start, stop, np.full_like(start, step)], 1)
        )
    return np.concatenate(regions)


class _OpenFiles:
    """The values of recordings, opened when first asked for, not too many at a time."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = recordings

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._values: dict[int, Any] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, index: int) -> Any:
        if index not in self._values:
            if len(self._values) >= OPEN_AT_ONCE:
                self._stack.close()
                self._values.clear()
            self._values[index] = self._stack.enter_context(self.recordings[index].opened())
        return self._values[index]
