import numpy as np
import pytest

from ceneurovae.time_folds import time_folds


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
