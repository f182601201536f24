"""Long work tells how far it is to who is showing it."""

import numpy as np

from ceneurovae.recording import Recording
from ceneurovae.stitching import stitched
from ceneurovae.tracking import showing, tracked, working
from ceneurovae.windows import all_windows


def test_who_is_showing_is_told_of_each_item_and_nobody_after():
    values = np.arange(40, dtype="float32")[:, None]
    windows = all_windows([Recording("a", values, ("x",))], seq_len=10)
    told = []

    def track(items, total, title):
        for item in items:
            told.append((item, total, title))
            yield item

    with showing(track):
        [(index, overlap)] = stitched(windows, lambda x, first: [x], batch_size=8)
    np.testing.assert_allclose(overlap.means()[0], values)
    assert index == 0
    assert told == [(first, 4, "Predicting windows") for first in (0, 8, 16, 24)]
    assert list(tracked("ab", 2, "Reading")) == ["a", "b"]
    assert len(told) == 4


def test_work_of_unknown_length_is_one_item():
    told = []

    def track(items, total, title):
        for _ in items:
            told.append(f"{title} begins, of {total}")
            yield
            told.append(f"{title} ends")

    with showing(track), working("Choosing"):
        told.append("inside")
    assert told == ["Choosing begins, of None", "inside", "Choosing ends"]
    with working("Choosing"):
        pass
    assert len(told) == 3
