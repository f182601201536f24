"""Recordings with different channels, rates and lengths come together, or it is explained."""

import warnings

import h5py
import numpy as np
import pytest

from ceneurovae.import_data import import_h5, load_splits, reload_splits
from ceneurovae.readers import read_alike, read_recordings


@pytest.fixture
def labs(make):
    """Two recordings: channels a, c and b, c at different places, and a third of one file."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 300, 2)).astype("float32")
    make({"x/data": first, "x/data@channel_names": ["a", "c"], "x@sampling_rate": 10.0}, "one.h5")
    path = make({"y/data": second, "y/data@channel_names": ["c", "b"], "y@sampling_rate": 10.0})
    return path.parent, first, second


def test_different_channels_are_an_error_that_explains_both_ways(labs):
    with pytest.raises(ValueError) as caught:
        read_recordings([labs[0] / "one.h5", labs[0] / "file.h5"])
    message = str(caught.value)
    assert "'one/x' and 'file/y' have different channels: 'data/a' is only in the first" in message
    assert "All 2 have 1 in common, of 3" in message
    assert "align='intersection' (--align)" in message and "align='union'" in message


def test_union_and_intersection(labs):
    folder, first, second = labs
    files = [folder / "one.h5", folder / "file.h5"]
    one, two = read_recordings(files, align="union")
    assert one.channels == two.channels == ("data/a", "data/c", "data/b")
    np.testing.assert_array_equal(one.values[:, :2], first)
    assert np.isnan(one.values[:, 2]).all() and np.isnan(two.values[:, 0]).all()
    np.testing.assert_array_equal(two.values[:, [1, 2]], second)
    one, two = read_recordings(files, align="intersection")
    assert one.channels == two.channels == ("data/c",)
    np.testing.assert_array_equal(two.values[:, 0], second[:, 0])
    with pytest.raises(ValueError, match="align is 'outer', expected one of error, union, inter"):
        read_recordings(files, align="outer")


def test_a_channel_that_only_some_have(labs):
    files = [labs[0] / "one.h5", labs[0] / "file.h5"]
    with pytest.raises(ValueError, match="'file/y' has no channel 'data/a'.* 1 of 2 recordings"):
        read_recordings(files, ["data/a"])
    one, two = read_recordings(files, ["data/b", "data/a"], align="union")
    assert one.channels == two.channels == ("data/b", "data/a")
    with pytest.raises(ValueError, match="'one/x' has no channel 'data/z'"):
        read_recordings(files, ["data/z"], align="union")


def test_what_was_aligned_is_read_alike_again(labs):
    files = [labs[0] / "one.h5", labs[0] / "file.h5"]
    splits = load_splits(files, seq_len=20, align="union")
    again = reload_splits(splits.manifest())
    np.testing.assert_array_equal(again.train.gather(), splits.train.gather())
    # A file of its own is read with the channels of all.
    (alone,) = read_alike(files[1], splits.train.channels, splits.manifest()["reading"])
    assert alone.channels == splits.train.channels
    assert np.isnan(alone.values[:, 0]).all()


def test_folders_patterns_and_names(make):
    values = np.random.default_rng(0).normal(size=(50, 2))
    for name in ("b.h5", "a.h5"):
        path = make({"data": values}, name)
    (path.parent / "notes.txt").write_text("no recording")
    names = ["a", "b"]
    assert [r.name for r in read_recordings(path.parent)] == names
    assert [r.name for r in read_recordings(str(path.parent / "*.h5"))] == names
    with pytest.raises(ValueError, match=r"Several recordings are named 'a' \(from '.*a.h5' and"):
        read_recordings([path.parent, path.parent / "a.h5"])


def test_rates_must_agree_or_be_resampled(make):
    time = np.arange(400)
    slow = make({"data": np.sin(time / 10)[:, None], "@sampling_rate": 10.0}, "slow.h5")
    fast = make({"data": np.sin(time / 20)[:, None], "@sampling_rate": 20.0}, "fast.h5")
    with pytest.raises(ValueError, match="different rates: 'slow' 10 Hz, 'fast' 20 Hz. Choose one"):
        read_recordings([slow, fast])
    one, two = read_recordings([slow, fast], resample_hz=10)
    assert one.rate_hz == two.rate_hz == 10
    assert len(two.values) == 200
    np.testing.assert_allclose(two.values[20:-20, 0], np.sin(time / 10)[20:180], atol=0.01)


def test_a_copy_of_a_recording_is_noticed(make):
    values = np.random.default_rng(0).normal(size=(300, 2))
    files = [make({"data": values}, name) for name in ("a.h5", "b.h5")]
    with pytest.warns(UserWarning, match="Recordings 'a' and 'b' hold the same values"):
        load_splits(files, seq_len=20)


def worm(make, name, neurons, **changes):
    rng = np.random.default_rng(len(name))
    frames = 80
    content = {
        "gcamp/trace_array": rng.normal(size=(frames, neurons)),
        "gcamp/trace_array_original": rng.normal(size=(frames, neurons)),
        "behavior/velocity": rng.normal(size=frames),
        "behavior/pumping": np.full(frames, np.nan),
        "behavior/body_angle": rng.normal(size=(frames, 5)),
        "timing/timestamp_confocal": np.arange(frames) * 0.5,
    }
    return make({**content, **changes}, name)


def test_short_names_and_cautions_of_worms(make):
    files = [worm(make, "a.h5", 4), worm(make, "bb.h5", 3)]
    with pytest.warns(UserWarning, match="missing .NaN. throughout: behavior/pumping"):
        recordings = read_recordings(files, "behavior")
    assert recordings[0].channels == ("behavior/velocity",)
    with pytest.warns(UserWarning, match="number 0 of one need not be number 0 of another"):
        recordings = read_recordings(files, "neural", align="intersection")
    assert recordings[0].channels == tuple(f"gcamp/trace_array_original/{i}" for i in range(3))
    with pytest.warns(UserWarning, match="z-scored over the whole recording.* a leakage"):
        read_recordings(files[0], "gcamp/trace_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_recordings(files[0], "neural")


@pytest.mark.parametrize("turned", [False, True])
def test_worms_with_either_order_of_axes(make, turned):
    rng = np.random.default_rng(0)
    traces, angles = rng.normal(size=(80, 6)), rng.normal(size=(80, 5))
    path = worm(
        make,
        "w.h5",
        6,
        **{
            "gcamp/trace_array_original": traces.T if turned else traces,
            "gcamp/trace_array": traces.T if turned else traces,
            "behavior/body_angle": angles.T if turned else angles,
            "gcamp/idx_splits": np.array([[1, 40], [41, 80]]).T if turned else [[1, 41], [40, 80]],
        },
    )
    (recording,) = read_recordings(path, ["neural", "behavior/body_angle"])
    np.testing.assert_allclose(recording.values, np.hstack([traces, angles]), rtol=1e-6)
    assert list(recording.breaks) == [40]


def test_imported_batches_of_a_union_hold_nan(labs):
    train, _ = import_h5([labs[0] / "one.h5", labs[0] / "file.h5"], seq_len=20, align="union")
    missing = np.isnan(next(iter(train)).numpy()).all(axis=1)
    assert missing.any(axis=1).all() and (missing.sum(axis=1) == 1).all()


def test_a_file_is_closed_after_reading(make):
    path = make({"data": np.zeros((50, 2))})
    read_recordings(path)
    with h5py.File(path, "a") as file:  # would fail if it were still open
        file["more"] = 1
