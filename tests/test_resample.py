"""Resampling keeps what was missing missing, and what was apart apart."""

import numpy as np
import pytest

from ceneurovae import split_datasets
from ceneurovae.recording import Recording
from ceneurovae.resample import resampled


def sine(samples=400, rate_hz=20.0, **fields):
    values = np.sin(2 * np.pi * 0.5 * np.arange(samples) / rate_hz)[:, None]
    return Recording("r", values, ("a",), rate_hz=rate_hz, **fields)


@pytest.mark.parametrize("rate_hz", [10.0, 15.0, 33.3])
def test_a_slow_sine_survives(rate_hz):
    made = resampled(sine(), rate_hz)
    assert made.rate_hz == rate_hz
    assert len(made.values) == pytest.approx(400 * rate_hz / 20, abs=1)
    time = np.arange(len(made.values)) / rate_hz
    expected = np.sin(2 * np.pi * 0.5 * time)
    inside = slice(int(rate_hz), -int(rate_hz))
    np.testing.assert_allclose(made.values[inside, 0], expected[inside], atol=0.01)


def test_missing_stays_missing_and_does_not_spread():
    values = np.full((400, 2), 7.0)
    values[100:140, 0] = np.nan
    values[300, 1] = np.nan
    made = resampled(Recording("r", values, ("a", "b"), rate_hz=20.0), 10.0)
    missing = np.flatnonzero(np.isnan(made.values[:, 0]))
    assert abs(missing[0] - 50) <= 1 and abs(missing[-1] - 69) <= 1
    assert len(missing) >= 18
    assert not np.isnan(made.values[:, 1]).any()  # one lost sample of two is filled
    np.testing.assert_allclose(made.values[~np.isnan(made.values)], 7, rtol=1e-5)


def test_stretches_do_not_mix():
    values = np.repeat([0.0, 100.0], 200)[:, None]
    made = resampled(Recording("r", values, ("a",), rate_hz=20.0, breaks=[200]), 10.0)
    assert list(made.breaks) == [100]
    np.testing.assert_allclose(made.values[:100], 0, atol=1e-4)
    np.testing.assert_allclose(made.values[100:], 100, rtol=1e-4)


def test_windows_stay_windows():
    recording = Recording.from_windows("w", np.zeros((5, 40, 2)), ("a", "b"), rate_hz=20.0)
    made = resampled(recording, 10.0)
    assert made.window_len == 20 and list(made.breaks) == [20, 40, 60, 80]


def test_a_gap_shorter_than_the_filter_is_refused():
    made = resampled(sine(), 10.0)
    assert made.reach == 10
    with pytest.raises(ValueError, match="was resampled: each sample was computed from up to 10"):
        split_datasets(made, seq_len=5, gap=5)
    assert len(split_datasets(made, seq_len=5, gap=10).valid)


def test_no_test_sample_depends_on_a_training_sample():
    def made(first):
        values = sine().values.copy()
        values[:first] += 1000.0
        return resampled(Recording("r", values, ("a",), rate_hz=20.0), 15.0)

    splits = split_datasets(made(0), seq_len=20, test_fraction=0.2)
    (_, last), (first, _) = splits.train.covered(0)[-1], splits.test.covered(0)[0]
    # The training data, in samples of the file, is up to `last` of 15 Hz.
    changed = split_datasets(made(int(last * 20 / 15)), seq_len=20, test_fraction=0.2)
    assert first > last
    np.testing.assert_allclose(changed.test.gather(), splits.test.gather(), atol=1e-3)


@pytest.mark.parametrize(
    ("recording", "rate_hz", "message"),
    [
        (sine(), -1, "resample_hz is -1, expected a number above 0"),
        (Recording("r", np.zeros((9, 1)), ("a",)), 5, "rate of recording 'r' is not known"),
        (sine(), 1e-4, "is too slow for 20 Hz"),
    ],
)
def test_errors(recording, rate_hz, message):
    with pytest.raises(ValueError, match=message):
        resampled(recording, rate_hz)
