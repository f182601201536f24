"""Each finding has a case that triggers it and a near case that does not."""

import numpy as np
import pytest

from ceneurovae import diagnosis
from ceneurovae.readers import open_sources
from ceneurovae.simulation import simulate_worms

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d")


def waves(samples=1000, channels=4):
    """`(samples, channels)`, smooth in time, with an offset and a scale of each channel."""
    time = np.arange(samples)[:, None] / 15 + np.arange(channels) * 1.7
    noise = 0.1 * RNG.normal(size=(samples, channels))
    return (np.sin(time) + noise) * (1 + np.arange(channels)) + 3 * RNG.normal(size=channels)


def codes(values, names=None, **how):
    names = names or [f"x/{i}" for i in range(values.shape[1])]
    return [finding.code for finding in diagnosis.diagnose_values(values, names, **how)]


def only(values, names=NAMES, **how):
    """The one finding about values."""
    (finding,) = diagnosis.diagnose_values(values, names, **how)
    return finding


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_wrong_with_clean_simulated_data(seed, tmp_path):
    path = simulate_worms(tmp_path / "worms.h5", seed=seed)
    with open_sources(path) as (_, sources):
        for source in sources:
            for block in source.blocks:
                values = block.read(0, block.samples)
                assert diagnosis.diagnose_values(values, block.channels) == []
                digests = diagnosis.channel_digests(values, block.channels)
                assert diagnosis.duplicated_channels(digests) is None
            assert diagnosis.too_short(1200, 1200, 100) is None
    assert codes(waves()) == []


def test_transposed_axes():
    values = waves(channels=4)
    found = only(values.T, [str(i) for i in range(1000)])
    assert found.code == "transposed-axes"
    assert "4 samples of 1000 channels" in found.message
    assert "pass transpose=True (--transpose)" in found.message
    # A short recording of many channels that is smooth in time only.
    assert codes(waves(30, 80)) == []
    # Nor noise, which is smooth along neither axis.
    assert codes(RNG.normal(size=(30, 80))) == []
    other = diagnosis.transposed_axes(values.T, [str(i) for i in range(1000)], None, False)
    assert "write the file with time first" in other.message


def test_transposed_windows():
    values = np.stack([waves(60, 5) for _ in range(10)])  # (N, T, C)
    swapped = values.swapaxes(1, 2).reshape(-1, 60)
    assert codes(swapped, window_len=5) == ["transposed-axes"]
    assert codes(values.reshape(-1, 5), window_len=60) == []


def test_already_z_scored():
    values = waves()
    scored = (values - values.mean(axis=0)) / values.std(axis=0)
    found = only(scored)
    assert (found.code, found.channels) == ("already-z-scored", NAMES)
    assert "Store raw values" in found.message
    assert codes(scored / scored.std(axis=0, ddof=1)) == ["already-z-scored"]
    holes = np.where(RNG.random(values.shape) < 0.1, np.nan, values)
    holes = (holes - np.nanmean(holes, axis=0)) / np.nanstd(holes, axis=0)
    assert codes(holes.astype("float32")) == ["already-z-scored"]
    # Scaled by one part of the recording, drawn from a standard normal, or looked at in part.
    early = values[:700]
    assert codes((values - early.mean(axis=0)) / early.std(axis=0)) == []
    assert codes(RNG.normal(size=(100_000, 4))) == []
    assert codes(scored, complete=False) == []


def test_constant_and_missing_channels():
    values = waves()
    values[:, 1] = 7
    assert (only(values).code, only(values).channels) == ("constant-channel", ("b",))
    values[3, 1] = 7.5
    assert codes(values) == []
    values[:, 2] = np.nan
    found = only(values)
    assert (found.code, found.channels) == ("all-missing", ("c",))
    assert found.message.startswith("Channel c is missing (NaN) throughout.")
    values[:500, 2] = waves()[:500, 2]
    assert codes(values) == []


def test_infinite_values():
    values = waves()
    values[[3, 5], 1] = np.inf, -np.inf
    assert only(values).code == "infinite"
    assert "Channel b is infinite in 2 samples" in only(values).message


def test_outliers():
    values = RNG.normal(size=(1000, 4))
    values[17, 2] = 30
    found = only(values)
    assert (found.code, found.channels) == ("outliers", ("c",))
    assert "in 1 sample " in found.message
    values[17, 2] = 15
    assert codes(values) == []
    counts = RNG.poisson(0.01, size=(1000, 4)).astype("float64")  # its deviation from 0 is 0
    counts[5] = 3
    assert codes(counts) == []
    rests = np.where(RNG.random((1000, 4)) < 0.3, 100.0, 1.0) * RNG.normal(size=(1000, 4)) * 3
    assert codes(rests) == []  # so many are no outliers


def test_slow_drift():
    values = RNG.normal(size=(1000, 4))
    drifting = values.copy()
    drifting[:, 3] += np.linspace(0, 3, 1000)
    found = only(drifting)
    assert (found.code, found.channels) == ("slow-drift", ("d",))
    bleached = waves() + 40 * np.exp(-np.arange(1000) / 300)[:, None]
    assert codes(bleached) == ["slow-drift"]
    assert codes(values + np.linspace(0, 0.5, 1000)[:, None]) == []
    assert codes(drifting[:90]) == []  # too little of it to tell


def test_duplicated_channels():
    values = waves()
    values[:, 3] = values[:, 0]
    found = diagnosis.duplicated_channels(diagnosis.channel_digests(values, NAMES))
    assert (found.code, found.channels) == ("duplicated-channels", ("a", "d"))
    assert "a = d" in found.message
    values[5, 3] += 0.01
    assert diagnosis.duplicated_channels(diagnosis.channel_digests(values, NAMES)) is None
    values[:, :2] = 0  # dead channels are alike, but not copies
    values[:, 2:] = np.nan
    assert diagnosis.channel_digests(values, NAMES) == {}


def test_timestamps():
    times = np.arange(500) / 2 + 0.05 * RNG.uniform(size=500)
    assert diagnosis.diagnose_timestamps(times, 500, 2.0) == []
    gap = times + 4 * (np.arange(500) >= 200)
    (found,) = diagnosis.diagnose_timestamps(gap, 500, 2.0)
    assert found.code == "uneven-timestamps"
    assert "1 are gaps" in found.message and "after sample 199" in found.message
    assert diagnosis.diagnose_timestamps(gap, 500, 2.0, breaks=[200]) == []
    lost = np.delete(np.arange(520) / 2, np.arange(0, 500, 25))
    assert [f.code for f in diagnosis.diagnose_timestamps(lost, 500)] == ["uneven-timestamps"]
    few = np.delete(np.arange(502) / 2, [100, 300])
    assert diagnosis.diagnose_timestamps(few, 500) == []
    (found,) = diagnosis.diagnose_timestamps(np.zeros(500), 500)
    assert "expected a positive one" in found.message
    (found,) = diagnosis.diagnose_timestamps(times, 400, 2.0)
    assert found.code == "timestamps-length"
    (found,) = diagnosis.diagnose_timestamps(times * 1000, 500, 2.0)
    assert found.code == "rate-mismatch"


def test_interruption():
    assert diagnosis.interruption(100, ()) is None
    found = diagnosis.interruption(100, (30, 90))
    assert found.code == "interruption"
    assert "sample 30, 90" in found.message and "shortest of 3 has 10 samples" in found.message


def test_too_short():
    assert diagnosis.too_short(500, 500, 100) is None
    found = diagnosis.too_short(499, 499, 100)
    assert found.code == "too-short"
    assert "Pass --seq-len 99 or less" in found.message
    assert diagnosis.too_short(499, 499, 100, by_time=False) is None
    assert "longest stretch of 80" in diagnosis.too_short(900, 80, 100).message
    assert "--short pad" in diagnosis.too_short(20, 20, 100).message
    assert diagnosis.too_short(60, 12, 12, window_len=12) is None
    assert "4 windows are fewer than the 5" in diagnosis.too_short(48, 12, 12, 12).message


def test_sorted_labels():
    found = diagnosis.sorted_labels("target", np.repeat([3, 1, 2], 10))
    assert found.code == "sorted-labels"
    assert "3 values in turn" in found.message
    assert diagnosis.sorted_labels("target", np.tile([3, 1, 2], 10)) is None
    assert diagnosis.sorted_labels("trial", np.arange(30)) is None
    assert diagnosis.sorted_labels("animal", np.repeat("a", 30)) is None
