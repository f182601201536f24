"""Latents of whole recordings: the same as one by one, in memory that does not grow."""

import tracemalloc

import h5py
import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config

from ceneurovae import NeuroBehaviorVAE, split_datasets
from ceneurovae.encoding import encode_alike, encode_file
from ceneurovae.model.vae import Posterior
from ceneurovae.readers import read_recordings
from ceneurovae.run_folder import RunFolder

T, BATCH = 12, 16


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two recordings, its weights moved at random, with steps on the decoder."""
    folder = tmp_path_factory.mktemp("encoding")
    with h5py.File(folder / "data.h5", "w") as file:
        for name, samples in (("one", 70), ("two", 41)):
            file[f"{name}/neural"] = make_windows(6, seed=samples).reshape(-1, 3)[:samples]
            file[name].attrs["sampling_rate"] = 4.0
    splits = split_datasets(read_recordings(folder / "data.h5"), T, valid_fraction=0, gap=0)
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(encoder_steps=2))
    model.adapt(splits.train.gather())
    rng = np.random.default_rng(0)
    for weight in model.decoder.trainable_weights + model.encoder.trainable_weights:
        weight.assign_add(rng.normal(scale=0.2, size=weight.shape))
    run = RunFolder.create(folder / "run", model.config, {}, splits.manifest())
    run.finish(model, {"refine": 10})
    return run


@pytest.fixture(scope="module")
def encoded(run):
    out = run.path / "latents.h5"
    encode_file(run.path, run.path.parent / "data.h5", out, stride=3, batch_size=BATCH)
    with h5py.File(out) as file:
        return {
            name: {key: item[()] for key, item in file[f"data/{name}"].items()}
            for name in ("one", "two")
        }


def test_every_window_is_there_with_its_time(encoded):
    for name, starts in (("one", range(0, 59, 3)), ("two", range(0, 30, 3))):
        found = encoded[name]
        assert found["start"].tolist() == list(starts)
        assert (found["stop"] - found["start"] == T).all()
        np.testing.assert_array_equal(found["start_seconds"], found["start"] / 4)
        assert found["mu"].shape == found["logvar"].shape == (len(starts), 2)
        assert np.isfinite(found["mu"]).all()


def test_a_window_is_encoded_alike_whatever_is_beside_it(run, encoded):
    model = run.load_model()
    recordings = read_recordings(run.path.parent / "data.h5")
    names = ("one", "two")
    x = np.concatenate(
        [
            [recording.values[start : start + T] for start in encoded[name]["start"]]
            for name, recording in zip(names, recordings, strict=True)
        ]
    )
    mu, logvar = (np.concatenate([encoded[n][k] for n in names]) for k in ("mu", "logvar"))
    rng = np.random.default_rng(0)
    by_itself_anywhere = keras.backend.backend() != "jax"
    for row in range(0, len(x), 5):
        # In its place in the batch, with others beside it: calm ones, and ones far off.
        batch = 100 * rng.normal(size=(BATCH, T, 3)).astype("float32")
        batch[row % BATCH] = x[row]
        found = encode_alike(model, batch, BATCH, refine=10)
        np.testing.assert_array_equal(found[0][row % BATCH], mu[row])
        np.testing.assert_array_equal(found[1][row % BATCH], logvar[row])
        if by_itself_anywhere:
            alone = encode_alike(model, x[row : row + 1], BATCH, refine=10)
            np.testing.assert_array_equal(alone[0][0], mu[row])
            np.testing.assert_array_equal(alone[1][0], logvar[row])
    np.testing.assert_allclose(mu, model.encode(x, refine=10).mu, atol=1e-2)


class Flat:
    """In place of a model: it gives latents, and nothing is left of the windows."""

    config = tiny_config()

    def encode(self, x, batch_size, refine):
        assert len(x) % batch_size == 0
        mean = np.nanmean(x, axis=(1, 2))[:, None] * np.ones(2)
        return Posterior(mean, mean)


def test_memory_does_not_grow_with_the_length_of_a_recording(run, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "load_model", lambda _: Flat())
    # What is read ahead is to be small beside the recordings.
    monkeypatch.setattr("ceneurovae.shuffling.REGION_BYTES", 1 << 15)
    monkeypatch.setattr("ceneurovae.shuffling.POOL_BYTES", 1 << 17)
    peaks = []
    for samples in (60_000, 240_000):
        with h5py.File(tmp_path / "long.h5", "w") as file:
            file["a/neural"] = np.random.default_rng(0).normal(size=(samples, 3)).astype("f4")
        tracemalloc.start()
        encode_file(
            *(run.path, tmp_path / "long.h5", tmp_path / "out.h5"),
            stride=7,
            overwrite=True,
            memory_gb=0,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        with h5py.File(tmp_path / "out.h5") as file:
            group = file["long/a"]
            assert len(group["mu"]) == (samples - T) // 7 + 1
            assert "start_seconds" not in group
            first, last = (
                read_recordings(tmp_path / "long.h5")[0].values[s : s + T]
                for s in (0, group["start"][-1])
            )
            np.testing.assert_allclose(
                group["mu"][[0, -1], 0], [first.mean(), last.mean()], rtol=1e-4
            )
    assert peaks[1] < 1.2 * peaks[0]


def test_what_cannot_be_encoded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "load_model", lambda _: Flat())
    with h5py.File(tmp_path / "data.h5", "w") as file:
        values = np.zeros((50, 3), dtype="f4")
        values[20, 1] = np.inf
        file["a/neural"] = values
    for memory_gb in (0, 1):
        with pytest.raises(ValueError, match=r"channel 'neural/1' is infinite .* first at 20"):
            encode_file(run.path, tmp_path / "data.h5", tmp_path / "out.h5", memory_gb=memory_gb)
    assert not (tmp_path / "out.h5").exists()
    data = run.path.parent / "data.h5"
    with pytest.raises(ValueError, match="batch_size is 0, expected a whole number of at least 1"):
        encode_file(run.path, data, tmp_path / "out.h5", batch_size=0)
