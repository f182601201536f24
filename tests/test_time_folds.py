import numpy as np
import pytest

from ceneurovae.time_folds import recording_folds, time_folds


@pytest.mark.parametrize("stride", [1, 4, 13])
def test_a_gap_of_a_window_is_between_training_and_test(stride):
    seq_len = 12
    start = np.concatenate([np.arange(0, 500, stride), np.arange(30, 400, stride)])
    recording = np.repeat([0, 3], [len(range(0, 500, stride)), len(range(30, 400, stride))])
    tested = []
    for train, test in time_folds(recording, start, seq_len, 5):
        tested += test.tolist()
        assert not set(train) & set(test)
        same = recording[train][:, None] == recording[test]
        apart = np.abs(start[train][:, None] - start[test]) - seq_len
        assert apart[same].min() >= seq_len
        # No more is left out than has to be: within two windows of the block, or between it.
        left_out = len(start) - len(train) - len(test)
        assert left_out <= 2 * 2 * (2 * seq_len // stride + 1)
        for index in (0, 3):
            block = np.flatnonzero(recording[test] == index)
            assert np.array_equal(np.diff(test[block]), np.ones(len(block) - 1))
    assert sorted(tested) == list(range(len(start)))


def test_short_recordings_are_for_test_as_a_whole():
    """In blocks, each of them would be for test in every fold, and its gaps would leave nothing."""
    recording, start = np.repeat(np.arange(7), 4), np.tile(np.arange(4), 7)
    tested = []
    for train, test in time_folds(recording, start, 12, 5):
        assert len(train) + len(test) == 28 and len(test)
        assert not set(recording[train]) & set(recording[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(28))


def test_recordings_with_the_same_label_are_spread():
    recording = np.repeat(np.arange(20), 3)
    target = np.repeat([0, 1], 30)
    for train, test in recording_folds(recording, target, 5):
        assert not set(recording[train]) & set(recording[test])
        assert np.bincount(target[test]).tolist() == [6, 6]
        assert len(train) + len(test) == 60
