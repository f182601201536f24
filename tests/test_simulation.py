import h5py
import numpy as np
import pytest

from ceneurovae import simulate_worms, split_datasets
from ceneurovae.readers import read_recordings
from ceneurovae.simulation import BEHAVIORS, LATENTS, latents_at_center, simulate_latents


def test_the_file_is_what_it_says(tmp_path):
    path = simulate_worms(tmp_path / "worms.h5", recordings=3, samples=2000, missing=0.05)
    recordings = read_recordings(path)
    assert [r.name for r in recordings] == ["worms/worm_1", "worms/worm_2", "worms/worm_3"]
    for recording in recordings:
        assert recording.values.shape == (2000, 27)
        assert recording.rate_hz == 2
        assert {f"behavior/{name}" for name in BEHAVIORS} <= set(recording.channels)
        # 24 neurons, 48,000 values, 5 % missing: four standard errors are 0.4 %.
        neural = recording.values[:, [c.startswith("neural") for c in recording.channels]]
        assert np.isnan(neural).mean() == pytest.approx(0.05, abs=0.004)
        behavior = recording.values[:, [c.startswith("behavior") for c in recording.channels]]
        assert 0 < np.isnan(behavior).mean() < 0.15


def test_a_seed_gives_the_same_worm(tmp_path):
    def values(seed):
        path = simulate_worms(tmp_path / f"{seed}.h5", recordings=1, samples=300, seed=seed)
        return read_recordings(path)[0].values

    np.testing.assert_array_equal(values(1), values(1))
    assert not np.array_equal(values(1), values(2), equal_nan=True)


def test_latents_are_as_described():
    latents = simulate_latents(5000, np.random.default_rng(0))
    command, sine, cosine, arousal = latents.T
    np.testing.assert_allclose(sine**2 + cosine**2, 1)
    assert np.abs(command).max() <= 1 and np.abs(arousal).max() <= 1
    # Forward runs last three times as long as reversals.
    assert (command > 0).mean() == pytest.approx(0.75, abs=0.1)


def test_latents_are_those_at_the_center_of_each_window(tmp_path):
    path = simulate_worms(tmp_path / "worms.h5", recordings=2, samples=300)
    windows = split_datasets(read_recordings(path), seq_len=20, stride=7).train
    found = latents_at_center(path, windows)
    assert found.shape == (len(windows), len(LATENTS))
    last = windows.start[-1] + 10
    with h5py.File(path) as file:
        np.testing.assert_array_equal(found[-1], file["worm_2/latents"][last])
