"""Labels from the files of a run, at the samples of its recordings."""

import numpy as np
import pytest

from ceneurovae.import_data import load_splits
from ceneurovae.labels import find_labels, read_labels

T = 10


@pytest.fixture
def path(make):
    """Two recordings with channels, labels beside them, and texts."""
    content = {}
    for name, samples in (("one", 120), ("two", 90)):
        time = np.arange(samples, dtype="float32")
        content[f"{name}/neural"] = np.random.default_rng(samples).normal(size=(samples, 2))
        content[f"{name}/time"] = time
        content[f"{name}/state"] = (time // 30 % 2).astype("int64")
        content[f"{name}/still"] = np.ones(samples)
        content[f"{name}@sampling_rate"] = 10.0
        content[f"{name}@animal"] = f"worm {name}"
    return make(content)


def test_a_label_is_that_of_the_middle_of_a_window(path):
    splits = load_splits(path, "neural", T)
    time, state, animal = read_labels(splits, ["time", "state", "animal"])
    start = splits.train.start
    np.testing.assert_array_equal(time.at_center(splits.train), start + 5)
    np.testing.assert_array_equal(state.at_center(splits.train), (start + 5) // 30 % 2)
    np.testing.assert_array_equal(animal.at_center(splits.train), splits.train.recording)
    assert (time.is_class, state.is_class, animal.is_class) == (False, True, True)
    assert animal.classes == ("worm one", "worm two")


def test_names_can_be_patterns_and_come_once(path):
    splits = load_splits(path, "neural", T)
    assert [label.name for label in read_labels(splits, ["t*", "time"])] == ["time"]


@pytest.mark.parametrize("rate", [5.0, 20.0])
def test_labels_of_resampled_recordings_are_those_of_the_nearest_sample(path, rate):
    splits = load_splits(path, "neural", T, resample_hz=rate, gap=30, valid_fraction=0)
    time, state = read_labels(splits, ["time", "state"])
    for values, recording in zip(time.values, splits.train.recordings, strict=True):
        assert len(values) == len(recording.values)
        assert np.abs(values - np.arange(len(values)) * 10 / rate).max() <= 1
    assert state.is_class


def test_labels_of_recordings_that_were_filled_up(make):
    path = make(
        {
            "layout_holder@layout": "x",
            "short/neural": np.random.default_rng(0).normal(size=(7, 2)),
            "short/time": np.arange(7.0),
            "long/neural": np.random.default_rng(1).normal(size=(60, 2)),
            "long/time": np.arange(60.0),
        }
    )
    splits = load_splits(path, "neural", T, short="pad", by="recording", valid_fraction=0.5)
    (time,) = read_labels(splits, ["time"])
    for values, recording in zip(time.values, splits.train.recordings, strict=True):
        known = values[~np.isnan(values)]
        assert len(values) == len(recording.values)
        np.testing.assert_array_equal(known, np.arange(len(known)))
        assert len(known) == (7 if "short" in recording.name else 60)


def test_labels_of_windows(make):
    x = np.random.default_rng(0).normal(size=(6, T, 2))
    kind = np.array(["a", "b", "b", "a", "a", "b"], dtype="S1")
    splits = load_splits(make({"data": x, "kind": kind}), "data", gap=0, valid_fraction=0)
    (label,) = read_labels(splits, ["kind"])
    assert label.at_center(splits.train).tolist() == [0, 1, 1, 0, 0, 1]


def test_labels_that_cannot_be_used(path):
    splits = load_splits(path, "neural", T)
    with pytest.raises(ValueError, match="Label 'still' is 1 throughout, so there is nothing"):
        read_labels(splits, ["still"])
    with pytest.raises(ValueError, match="has no channel 'spede'"):
        read_labels(splits, ["spede"])


def test_what_stands_beside_the_channels_is_found(path):
    splits = load_splits(path, "neural", T)
    found = {label.name: label for label in find_labels(splits)}
    assert set(found) == {"neural/0", "neural/1", "time", "state", "animal"}  # 'still' is constant
    assert [name for name, label in found.items() if not label.is_channel] == ["animal"]
    for label in found.values():
        (read,) = read_labels(splits, [label.name])
        for one, other in zip(label.values, read.values, strict=True):
            np.testing.assert_array_equal(one, other)
    at = found["animal"].at(np.array([1, 0, 1]), np.array([5, 5, 80]))
    assert at.tolist() == [1, 0, 1]


def test_labels_that_were_sampled_otherwise_are_not_found(make):
    rng = np.random.default_rng(0)
    content = {
        "worm/neural": rng.normal(size=(100, 2)),
        "worm/wide": rng.normal(size=(100, 20)),
        "worm/speed": rng.normal(size=100),
        "worm/turns": rng.normal(size=(30, 2)),
    }
    splits = load_splits(make(content), "neural", T, layout="groups")
    assert {label.name for label in find_labels(splits)} == {"neural/0", "neural/1", "speed"}
