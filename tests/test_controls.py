"""Refits that say whether to believe a model: on null data, and with other seeds."""

import json

import h5py
import keras
import numpy as np
import pytest
from conftest import tiny_config

from ceneurovae.comparison import compare_runs
from ceneurovae.controls_table import control_tables
from ceneurovae.import_data import load_splits, reload_splits
from ceneurovae.null_models import null_control
from ceneurovae.reproducibility import prediction_r2, seed_agreement
from ceneurovae.run_folder import RunFolder
from ceneurovae.runs import train_run

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on any backend, fastest on PyTorch"
)
T = 8


def trained(folder, values):
    with h5py.File(folder / "data.h5", "w") as file:
        file["data"] = values.astype("float32")
    splits = load_splits(folder / "data.h5", seq_len=T, test_fraction=0.3)
    train_run(splits, tiny_config(backbone="linear"), folder / "run", epochs=1, verbose=0)
    return RunFolder(folder / "run")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A run on channels that have nothing to do with each other, nor with what was before."""
    values = np.random.default_rng(0).normal(size=(600, 4))
    return trained(tmp_path_factory.mktemp("noise"), values)


@pytest.fixture(scope="module")
def found(noise):
    return null_control(noise.path, refits=2)


def test_noise_has_no_gap(noise, found):
    windows = reload_splits(noise.manifest).test
    model = noise.load_model()
    target = model.scaler.as_numpy(windows.gather())
    error = model.scaler.as_numpy(model.decode(model.encode(windows.gather()).mu)) - target
    spread = np.square(target - target.mean(axis=(0, 1))).sum()
    assert found["real"]["r2"] == pytest.approx(1 - np.square(error).sum() / spread, rel=1e-4)
    assert [row["seed"] for row in found["shifted"]] == [1, 2]
    null = [row["r2"] for row in found["shifted"]]
    assert found["gap"]["r2"]["mean"] == pytest.approx(found["real"]["r2"] - np.mean(null))
    assert found["gap"]["r2"]["std"] == pytest.approx(np.std(null, ddof=1))
    assert abs(found["gap"]["r2"]["mean"]) < 0.03
    assert abs(found["real"]["r2"] - found["time_shuffled"]["r2"]) < 0.03


def test_what_channels_share_is_a_gap(tmp_path):
    rng = np.random.default_rng(0)
    signal = np.sin(rng.uniform(0.2, 1.2, size=600).cumsum())
    run = trained(tmp_path, signal[:, None] + 0.3 * rng.normal(size=(600, 4)))
    assert null_control(run.path, refits=1)["gap"]["r2"]["mean"] > 0.1


def test_an_interrupted_control_goes_on(noise, found, monkeypatch):
    made = []

    def refit(run, splits, seed):
        made.append(seed)
        if seed == 4:
            raise KeyboardInterrupt
        return noise.load_model()

    monkeypatch.setattr("ceneurovae.null_models.refit", refit)
    with pytest.raises(KeyboardInterrupt):
        null_control(noise.path, refits=5)
    kept = noise.read_control("null")
    assert kept["shifted"][:2] == found["shifted"] and kept["refits"] == 3
    assert kept["time_shuffled"] == found["time_shuffled"]
    made.clear()
    assert null_control(noise.path, refits=3) == kept
    assert made == []


def test_seeds_agree_and_are_not_trained_twice(noise, monkeypatch):
    found = seed_agreement(noise.path, refits=1)
    assert found["seeds"] == [0, 1] and len(found["pairs"]) == 2
    assert found["mean"] == pytest.approx(np.mean([pair["r2"] for pair in found["pairs"]]))
    assert noise.read_control("seeds") == json.loads(json.dumps(found)) == found
    refitted = RunFolder(noise.refit_path(1))
    own = {**noise.training, "seed": 1}
    assert refitted.is_finished and refitted.training == own
    monkeypatch.setattr("ceneurovae.course.Course._fit", None)
    assert seed_agreement(noise.path, refits=1) == found
    assert [run["path"] for run in compare_runs(noise.path)] == [str(noise.path)]


def test_a_model_agrees_with_itself_and_with_what_is_turned():
    rng = np.random.default_rng(0)
    latents = [rng.normal(size=(n, 3)) for n in (400, 100)]
    other = [rng.normal(size=(n, 3)) for n in (400, 100)]
    assert prediction_r2(latents, latents) == pytest.approx(1, abs=1e-4)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = [part @ turn for part in latents]
    assert prediction_r2(latents, turned) == pytest.approx(1, abs=1e-4)
    assert prediction_r2(latents, other) < 0.1


def test_they_are_shown(noise, found):
    null, seeds = control_tables({"null": found, "seeds": noise.read_control("seeds")})
    assert null.row_count == 5
    assert seeds.row_count == 2


def test_a_new_run_in_the_folder_has_no_controls(noise, tmp_path):
    run = RunFolder.create(tmp_path, noise.config, {}, None)
    run.write_control("null", {})
    run.refit_path(1).mkdir(parents=True)
    run = RunFolder.create(tmp_path, noise.config, {}, None, overwrite=True)
    assert run.read_control("null") is None
    assert not run.refit_path(1).exists()
    with pytest.raises(ValueError, match="was interrupted. To go on: ceneurovae train --resume"):
        null_control(tmp_path)


@pytest.mark.parametrize("control", [null_control, seed_agreement])
def test_there_is_a_refit_at_least(noise, control):
    with pytest.raises(ValueError, match="refits is 0, expected a whole number of at least 1"):
        control(noise.path, 0)
