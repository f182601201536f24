"""Cross-validation in blocks of time: neighbouring windows are never on both sides."""

from collections.abc import Iterator

import numpy as np

from ceneurovae.hints import Array


def time_folds(
    recording: Array, start: Array, seq_len: int, folds: int
) -> Iterator[tuple[Array, Array]]:
    """Splits windows into training and test windows, `folds` times.

    The windows of each recording are cut into `folds` blocks of time with equally many windows. One
    block of each recording is for test. The others are for training, but for windows that lie
    nearer than a window to a block for test: between the last sample of the one and the first of
    the other there are at least `seq_len` samples. Neighbours share samples, and slow signals are
    alike for longer than that, so windows drawn at random would be tested on what they were
    trained on.

    Args:
        recording: `(n,)`, index of each window's recording.
        start: `(n,)`, each window's first sample, ascending within a recording.
        seq_len: Length of a window, and of the gaps, in samples.
        folds: Number of blocks.

    Yields:
        `(train, test)`: indices of windows; empty where there are too few.

    >>> folds = time_folds(np.zeros(9, int), np.arange(9) * 10, seq_len=10, folds=3)
    >>> [(train.tolist(), test.tolist()) for train, test in folds]
    [([4, 5, 6, 7, 8], [0, 1, 2]), ([0, 1, 7, 8], [3, 4, 5]), ([0, 1, 2, 3, 4], [6, 7, 8])]
    """
    recording, start = np.asarray(recording), np.asarray(start)
    block = np.empty(len(start), dtype="int64")
    for index in np.unique(recording):
        own = np.flatnonzero(recording == index)
        block[own] = np.arange(len(own)) * folds // len(own)
    for fold in range(folds):
        test = block == fold
        train = ~test
        for index in np.unique(recording[test]):
            own = recording == index
            first, last = start[own & test].min(), start[own & test].max()
            near = (start > first - 2 * seq_len) & (start < last + 2 * seq_len)
            train &= ~(own & near)
        yield np.flatnonzero(train), np.flatnonzero(test)
