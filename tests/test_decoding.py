"""Labels read from latents: what is there is found, what is not is at chance."""

import json

import h5py
import keras
import numpy as np
import pytest
from conftest import tiny_config

from ceneurovae import NeuroBehaviorVAE, split_datasets
from ceneurovae.controls_table import control_tables
from ceneurovae.decoding import decode_labels, fold_scores, null_labels, windows_to_decode
from ceneurovae.readers import read_recordings
from ceneurovae.run_folder import RunFolder
from ceneurovae.simulation import latents_at_center, simulate_worms
from ceneurovae.windows import all_windows

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on any backend, fastest on PyTorch"
)
T = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, adapted and not trained, of channels that two fast latents drive."""
    folder = tmp_path_factory.mktemp("decoding")
    rng = np.random.default_rng(0)
    with h5py.File(folder / "data.h5", "w") as file:
        for name in ("one", "two"):
            latents = np.sin(rng.uniform(0.4, 0.8, size=(400, 2)).cumsum(axis=0))
            file[f"{name}/neural"] = latents @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(
                size=(400, 3)
            )
            known = latents @ [1.0, -0.5]
            known[50:80] = np.nan
            file[f"{name}/known"] = known
            file[f"{name}/side"] = (latents[:, 0] > 0).astype("int64")
            file[f"{name}/noise"] = rng.normal(size=400)
    recordings = read_recordings(folder / "data.h5", "neural")
    splits = split_datasets(recordings, T, test_fraction=0.2)
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(latent_dim=6, backbone="linear"))
    model.adapt(splits.train.gather())
    run = RunFolder.create(folder / "run", model.config, {"seed": 0}, splits.manifest())
    run.finish(model, {"refine": 0})
    return run


@pytest.fixture(scope="module")
def found(run):
    return decode_labels(run.path, ["known", "side", "noise", "neural/0"])


def test_labels_that_are_there_are_found_and_others_are_at_chance(found):
    known, side, noise, channel = found["labels"]
    assert known["kind"] == "regression" and side["kind"] == "classification"
    assert known["latents"]["mean"] > 0.8 > 0.2 > known["null"]["mean"]
    assert side["latents"]["mean"] > 0.8
    assert side["null"]["mean"] == pytest.approx(0.5, abs=0.1)
    for name in ("latents", "pca", "channels", "null"):
        assert noise[name]["mean"] < 0.1
        folds = [score for score in known[name]["folds"] if score is not None]
        assert known[name]["mean"] == pytest.approx(np.mean(folds))
        assert known[name]["std"] == pytest.approx(np.std(folds, ddof=1))
    assert [row["in_model"] for row in found["labels"]] == [False, False, False, True]
    assert channel["latents"]["mean"] > 0.8


def test_windows_whose_label_is_missing_are_left_out(found):
    known, side, *_ = found["labels"]
    assert known["samples"] < side["samples"]
    assert found["split"] == "all" and found["gap"] == T


def test_it_is_written_and_shown(run, found):
    assert run.read_control("decoding") == json.loads(json.dumps(found)) == found
    (table,) = control_tables({"decoding": found})
    assert table.row_count == 4
    assert table.columns[0]._cells[-1] == "neural/0 *"


def test_what_was_found_of_other_labels_is_kept(run, found):
    known, side, noise, channel = found["labels"]
    again = decode_labels(run.path, ["side"])
    assert again["labels"] == [side, known, noise, channel]
    assert run.read_control("decoding") == again
    run.write_control("decoding", {**found, "split": "valid"})  # of other windows
    assert decode_labels(run.path, ["side"]) == {**found, "labels": [side]}
    run.write_control("decoding", found)


def test_held_out_windows_are_used_where_there_are_enough():
    values = np.random.default_rng(0).normal(size=(3000, 2))
    name, windows = windows_to_decode(split_datasets(values, T, test_fraction=0.2))
    assert name == "test" and windows.start.min() >= 2400
    assert len(windows) == 3000 * 0.2 - T + 1
    name, windows = windows_to_decode(split_datasets(values[:1000], T, test_fraction=0.2))
    assert name == "all" and windows.start.min() == 0
    assert len(windows) <= 1000 and (np.diff(windows.start) > 0).all()


def test_a_linear_function_of_known_latents_of_a_worm_is_found(tmp_path):
    path = simulate_worms(tmp_path / "worms.h5", recordings=2, samples=400, neurons=2)
    windows = all_windows(read_recordings(path), seq_len=T, stride=3)
    codes = latents_at_center(path, windows)
    target = codes @ [1.0, 0.5, -0.5, 0.2]
    where = *windows.locate(), T
    codes = codes - codes.mean(axis=0)
    assert min(fold_scores("regression", codes, target, *where)) > 0.95
    half = len(target) // 2  # of another worm, whose latents are independent
    null = fold_scores("regression", codes, np.roll(target, half), *where)
    assert np.mean(null) < 0.2


def test_labels_of_whole_recordings_are_told_from_other_recordings():
    rng = np.random.default_rng(0)
    recording, start = np.repeat(np.arange(40), 5), np.tile(np.arange(5) * 100, 40)
    classes = np.repeat(np.arange(4), 50)  # sorted
    codes = rng.normal(size=(4, 3))[classes] + 0.1 * rng.normal(size=(200, 3))
    where = recording, start, T
    assert np.mean(fold_scores("classification", codes, classes, *where)) > 0.95
    null = list(null_labels(classes, *where))
    assert len(null) == 10
    for labels in null:
        assert np.bincount(labels).tolist() == [50] * 4
        assert all(len(np.unique(labels[recording == r])) == 1 for r in range(40))
    scores = [np.mean(fold_scores("classification", codes, labels, *where)) for labels in null]
    assert np.mean(scores) == pytest.approx(0.25, abs=0.1)
    # What tells a recording from others says nothing of a label: windows of it are not on both
    # sides.
    own = rng.normal(size=(40, 30))[recording]
    chance = np.mean(fold_scores("classification", own, classes, *where))
    assert chance == pytest.approx(0.25, abs=0.15)


def test_labels_over_time_are_shifted():
    target = np.arange(40.0)
    for labels in null_labels(target, np.zeros(40, int), np.arange(40), 4):
        assert (np.diff(labels) == 1).sum() == 38
        assert labels[0] not in (*target[:4], *target[-3:])


def test_two_recordings_are_too_few_for_a_label_of_theirs(run):
    from ceneurovae.labels import Label

    splits = split_datasets(read_recordings(run.path.parent / "data.h5", "neural"), T)
    label = Label("animal", (np.zeros(400), np.ones(400)))
    with pytest.raises(ValueError, match="the same throughout each recording, so that.*2 are too"):
        decode_labels(run.path, [label], splits)


def test_a_label_that_hardly_varies(run):
    from ceneurovae.labels import Label

    splits = split_datasets(read_recordings(run.path.parent / "data.h5", "neural"), T)
    values = [np.zeros(400), np.zeros(400)]
    values[0][200] = 1
    with pytest.raises(ValueError, match=r"Label 'rare' is known and varies in too few of \d+ "):
        decode_labels(run.path, [Label("rare", tuple(values))], splits)


def test_no_label_is_an_error(run):
    with pytest.raises(ValueError, match="labels is empty"):
        decode_labels(run.path, [])
