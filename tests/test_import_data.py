"""The streamed batches are right, whatever the file holds."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from ceneurovae import import_h5
from ceneurovae.import_data import reload_splits
from ceneurovae.pipeline import make_dataset


def write(path, values):
    with h5py.File(path, "w") as file:
        file["data"] = values
    return path


def collected(dataset):
    return np.concatenate([batch.numpy() for batch in dataset])


def test_windows_in_a_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(64, 100, 3)).astype("float32")
    train, valid = import_h5(write(tmp_path / "data.h5", values), gap=0, valid_fraction=0.25)
    assert next(iter(train)).shape == (32, 100, 3)
    assert next(iter(train)).dtype == "float32"
    np.testing.assert_array_equal(collected(valid), values[48:])
    got = collected(train)
    np.testing.assert_array_equal(
        got[np.lexsort(got[:, 0].T)], values[:48][np.lexsort(values[:48, 0].T)]
    )


def test_a_recording_in_a_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(1500, 3)).astype("float32")
    path = write(tmp_path / "data.h5", values)
    train, valid, test = import_h5(path, stride=10, test_fraction=0.2)
    assert next(iter(train)).shape == (32, 100, 3)
    np.testing.assert_array_equal(collected(test)[0], values[1200:1300])
    assert len(train) == -(-len(train.source) // 32)
    for windows in (train.source, valid.source, test.source):
        assert len(windows) > 0


def test_order_comes_from_the_seed(tmp_path):
    path = write(tmp_path / "data.h5", np.arange(300, dtype="float32")[:, None])

    def epochs(seed):
        train, _ = import_h5(path, seq_len=10, seed=seed)
        return [collected(train)[:, 0, 0] for _ in range(2)]

    first, same, other = epochs(1), epochs(1), epochs(2)
    np.testing.assert_array_equal(first, same)
    assert (first[0] != first[1]).any() and (first[0] != other[0]).any()
    np.testing.assert_array_equal(np.sort(first[0]), np.sort(first[1]))


def test_masks_say_what_was_observed(tmp_path):
    values = np.random.default_rng(0).normal(size=(400, 2)).astype("float32")
    values[::7, 1] = np.nan
    path = write(tmp_path / "data.h5", values)
    plain, _ = import_h5(path, seq_len=20, shuffle=False)
    masked, _ = import_h5(path, seq_len=20, shuffle=False, masks=True)
    for x, (filled, mask) in zip(plain, masked, strict=True):
        assert mask.dtype == tf.bool
        np.testing.assert_array_equal(np.isnan(x), ~mask.numpy())
        np.testing.assert_array_equal(np.nan_to_num(x), filled)


def test_windows_of_several_recordings_do_not_mix(simulated_worms):
    train, _ = import_h5(simulated_worms, seq_len=20, shuffle=False, batch_size=16)
    np.testing.assert_array_equal(collected(train), train.source.gather())
    assert set(train.source.recording) == {0, 1}


def test_a_manifest_gives_the_same_data_again(simulated_worms):
    train, valid = import_h5(simulated_worms, ["neural/N02", "behavior"], seq_len=20, stride=3)
    again = reload_splits(train.splits.manifest())
    assert again.train.channels == train.source.channels
    np.testing.assert_array_equal(again.train.gather(), train.source.gather())
    np.testing.assert_array_equal(again.valid.gather(), valid.source.gather())
    manifest = train.splits.manifest()
    manifest["recordings"][0]["samples"] += 1
    with pytest.raises(ValueError, match="has 200 samples, but had 201 when the model was trained"):
        reload_splits(manifest)


def test_channels_without_information(tmp_path):
    values = np.random.default_rng(0).normal(size=(400, 3))
    values[:, 1] = 5
    with pytest.warns(UserWarning, match="Channel 'data/1' is constant: kept, with scale 1"):
        import_h5(write(tmp_path / "data.h5", values))
    values[:, 1] = np.nan
    with pytest.raises(ValueError, match="Channel 'data/1' is missing .* throughout 'data'. Leave"):
        import_h5(write(tmp_path / "data.h5", values))


def test_pumping_of_a_real_worm(real_worms):
    path = next(file for file in real_worms if "2022-07-26-31" in file.name)
    with pytest.raises(ValueError, match="'behavior/pumping' is missing .* Leave it out"):
        import_h5(path, ["behavior/velocity", "behavior/pumping"], seq_len=60)


def test_batch_size_is_checked(simulated_worms):
    with pytest.raises(ValueError, match="batch_size is 0, expected a whole number"):
        import_h5(simulated_worms, seq_len=20, batch_size=0)


def test_datasets_know_their_length(simulated_worms):
    windows = import_h5(simulated_worms, seq_len=20)[0].source
    assert len(make_dataset(windows, batch_size=50)) == -(-len(windows) // 50)
