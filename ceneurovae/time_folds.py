"""Cross-validation in blocks of time, or of recordings: neighbours are never on both sides."""

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

    Recordings in which such a block would be shorter than its two gaps are for test as a whole,
    each in one fold, where there is one for every fold.

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
    short = []
    for index in np.unique(recording):
        own = np.flatnonzero(recording == index)
        block[own] = np.arange(len(own)) * folds // len(own)
        if start[own[-1]] + seq_len - start[own[0]] < 2 * seq_len * folds:
            short.append(own)
    if len(short) >= folds:
        for number, own in enumerate(short):
            block[own] = number % folds
    for fold in range(folds):
        test = block == fold
        train = ~test
        for index in np.unique(recording[test]):
            own = recording == index
            first, last = start[own & test].min(), start[own & test].max()
            near = (start > first - 2 * seq_len) & (start < last + 2 * seq_len)
            train &= ~(own & near)
        yield np.flatnonzero(train), np.flatnonzero(test)


def recording_folds(recording: Array, target: Array, folds: int) -> Iterator[tuple[Array, Array]]:
    """Splits windows into training and test windows, `folds` times, by whole recordings.

    Where a label is the same throughout each recording, any other window of a recording tells it.
    Recordings with the same label are spread over the folds.

    Args:
        recording: `(n,)`, index of each window's recording.
        target: `(n,)`, the label, the same in all windows of a recording.
        folds: Number of folds.

    Yields:
        `(train, test)`: indices of windows; empty where there are too few recordings.

    >>> folds = recording_folds(np.array([0, 0, 1, 2, 3]), np.array([5, 5, 5, 7, 7]), folds=2)
    >>> [(train.tolist(), test.tolist()) for train, test in folds]
    [([2, 4], [0, 1, 3]), ([0, 1, 3], [2, 4])]
    """
    _, first, owner = np.unique(recording, return_index=True, return_inverse=True)
    # At random among those with one label: in their order, recordings that are alike, because they
    # were made one after another, would be spread evenly too, and chance would look like skill.
    mixed = np.random.default_rng(0).permutation(len(first))
    by_label = mixed[np.argsort(np.asarray(target)[first][mixed], kind="stable")]
    fold_of = np.empty(len(first), dtype="int64")
    fold_of[by_label] = np.arange(len(first)) % folds
    for fold in range(folds):
        test = fold_of[owner] == fold
        yield np.flatnonzero(~test), np.flatnonzero(test)
