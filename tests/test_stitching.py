"""How far windows that overlap are apart, and how uncertain what they say together is."""

import numpy as np
import pytest

from ceneurovae.recording import Recording
from ceneurovae.stitching import stitched, taper
from ceneurovae.windows import Windows, covering_runs

T, STRIDE = 12, 4


@pytest.fixture
def windows():
    """Windows of 43 samples of two channels, interrupted at 21; the last of each is flush."""
    values = np.random.default_rng(0).normal([0, 1000], size=(43, 2))
    recording = Recording("a", values, ("x", "y"), breaks=[21])
    return Windows.from_runs([recording], T, [covering_runs(recording, T, STRIDE)])


def test_windows_come_in_the_order_of_time(windows):
    assert windows.start.tolist() == [0, 4, 8, 9, 21, 25, 29, 31]


def test_windows_that_agree_have_no_seams_and_no_variance(windows):
    ((_, overlap),) = stitched(windows, lambda x, first: [x], batch_size=3)
    assert overlap.seams == 3 + 3  # none over the interruption
    np.testing.assert_array_equal(overlap.seam_error(), 0)
    np.testing.assert_allclose(overlap.variance(), 0, atol=1e-9)


def test_windows_that_disagree(windows):
    offset = np.random.default_rng(1).normal(size=(len(windows), 2))

    def predict(x, first):
        return [x + offset[first : first + len(x), None]]

    ((_, overlap),) = stitched(windows, predict, batch_size=3)
    pairs = [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)]
    apart = np.array([offset[one] - offset[other] for one, other in pairs])
    expected = np.sqrt(np.square(apart).mean(axis=0))
    np.testing.assert_allclose(overlap.seam_error(), expected, rtol=1e-4)
    values = windows.recordings[0].values
    for sample in (0, 10, 20, 21, 30):
        inside = [i for i, s in enumerate(windows.start) if s <= sample < s + T]
        weights = [taper(T)[sample - windows.start[i]] for i in inside]
        mean = np.average(offset[inside], axis=0, weights=weights)
        variance = np.average(np.square(offset[inside] - mean), axis=0, weights=weights)
        np.testing.assert_allclose(overlap.variance()[sample], variance, atol=1e-3)
        np.testing.assert_allclose(overlap.means()[0][sample], values[sample] + mean, rtol=1e-4)
