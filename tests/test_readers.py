"""Each layout is recognised by looking inside, and bad files are explained."""

import numpy as np
import pytest

from ceneurovae.readers import open_sources, read_recordings


def numbers(*shape):
    return np.arange(np.prod(shape), dtype="float64").reshape(shape)


def flavell(frames=20, **changes):
    content = {
        "gcamp/trace_array_original": numbers(frames, 4),
        "gcamp/idx_splits": np.array([[1], [frames]]),
        "gcamp/idx_nsm": np.array([3]),
        "behavior/velocity": numbers(frames),
        "behavior/pumping": np.full(frames, np.nan),
        "behavior/reversal_events": numbers(2, 5),
        "timing/timestamp_confocal": np.arange(frames) * 0.5,
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def test_array_of_a_recording(make):
    values = numbers(30, 3)
    path = make({"data": values, "@sampling_rate": 20.0, "data@channel_names": ["x", "y", "z"]})
    (recording,) = read_recordings(path)
    assert recording.name == "file"
    assert recording.channels == ("data/x", "data/y", "data/z")
    assert recording.rate_hz == 20
    assert recording.values.dtype == "float32"
    np.testing.assert_array_equal(recording.values, values)


def test_array_of_windows(make):
    values = numbers(7, 10, 3)
    (recording,) = read_recordings(make({"some/where/deep": values}))
    assert recording.window_len == 10
    assert list(recording.breaks) == [10, 20, 30, 40, 50, 60]
    np.testing.assert_array_equal(recording.values, values.reshape(70, 3))


def test_arrays_side_by_side_are_chosen_by_name(make):
    path = make({"counts": numbers(7, 10, 3), "hand": numbers(7, 10, 2), "condition": numbers(7)})
    with pytest.raises(ValueError, match=r"holds several sets of channels: condition \(7,\), co"):
        read_recordings(path)
    (recording,) = read_recordings(path, ["hand", "counts/1"])
    assert recording.channels == ("hand/0", "hand/1", "counts/1")
    with pytest.raises(ValueError, match=r"differ in length: condition \(7,\), hand \(7, 10, 2\)"):
        read_recordings(path, ["condition", "hand"])


def test_a_mask_becomes_nan(make):
    mask = np.ones((30, 3))
    mask[3, 1] = 0
    (recording,) = read_recordings(make({"data": numbers(30, 3), "mask": mask}))
    assert np.argwhere(np.isnan(recording.values)).tolist() == [[3, 1]]


def test_groups_are_recordings(make):
    path = make(
        {
            "a/neural": numbers(30, 2),
            "a/speed": numbers(30),
            "a/latents": numbers(30, 9),
            "a/frameRate": np.array([4.0]),
            "b/neural": numbers(20, 2),
            "b/speed": numbers(20),
            "b/short": numbers(3),
            "notes/version": numbers(1),
            "@sampling_rate": 4.01,
        }
    )
    first, second = read_recordings(path)
    assert (first.name, second.name) == ("file/a", "file/b")
    assert first.channels == second.channels == ("neural/0", "neural/1", "speed")
    assert (first.rate_hz, second.rate_hz) == (4, 4.01)
    assert len(second.values) == 20


def test_flavell(make):
    path = make(flavell(**{"gcamp/idx_splits": np.array([[1, 9], [8, 20]])}))
    with open_sources(path) as (layout, (source,)):
        assert layout == "flavell"
        assert {block.name for block in source.blocks} == {
            "gcamp/trace_array_original",
            "behavior/velocity",
            "behavior/pumping",
        }
    with pytest.raises(ValueError, match="Say which with channels= or --channels"):
        read_recordings(path)
    (recording,) = read_recordings(path, ["behavior/velocity", "gcamp/*"])
    assert recording.channels[:2] == ("behavior/velocity", "gcamp/trace_array_original/0")
    assert recording.rate_hz == 2
    assert list(recording.breaks) == [8]  # frame 9, counted from 1


def test_flavell_with_more_timestamps_than_frames_and_a_split_per_frame(make):
    frames = np.arange(1, 21)
    path = make(
        flavell(
            **{
                "timing/timestamp_confocal": np.arange(33) * 0.5,
                "gcamp/idx_splits": np.stack([frames, frames]),
            }
        )
    )
    (recording,) = read_recordings(path, ["gcamp/trace_array_original"])
    assert recording.values.shape == (20, 4)
    assert list(recording.breaks) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gcamp/idx_splits": np.array([[1, 9], [9, 20]])}, "expected ascending first and last"),
        ({"gcamp/idx_splits": np.array([[1, 99], [9, 20]])}, "expected ascending first and last"),
        ({"timing/timestamp_confocal": np.zeros(20)}, "median interval of 0.0 s"),
        ({"gcamp/trace_array_original": None}, "has no table of traces"),
    ],
)
def test_flavell_errors(make, changes, message):
    with pytest.raises(ValueError, match=message):
        read_recordings(make(flavell(**changes)), ["behavior/velocity"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("behavior/velocty", "no channel 'behavior/velocty'. Did you mean behavior/velocity"),
        ("Velocity", "Did you mean behavior/velocity"),
        ("zzz", "no channel 'zzz'. It has behavior/pumping|It has gcamp/trace_array_original"),
    ],
)
def test_an_unknown_channel_lists_near_matches(make, request_, message):
    with pytest.raises(ValueError, match=message):
        read_recordings(make(flavell()), [request_])


def test_files_that_cannot_be_read(make, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_recordings(tmp_path / "none.h5")
    with pytest.raises(FileNotFoundError, match="The folder .* holds no file that ends in .h5"):
        read_recordings(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No file matches '.*\*.h5'"):
        read_recordings(tmp_path / "*.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="is not a file that can be read: neither HDF5"):
        read_recordings(tmp_path / "text.h5")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(500))
    with pytest.raises(ValueError, match=r"is of MATLAB: save it with the flag '-v7.3', as HDF5"):
        read_recordings(tmp_path / "old.mat")
    whole = make({"data": numbers(1000, 3)}).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is cut off: it is shorter than it says"):
        read_recordings(tmp_path / "half.h5")
    with pytest.raises(ValueError, match="holds no numeric dataset"):
        read_recordings(make({"names": ["a", "b"]}))
    with pytest.raises(
        ValueError, match=r"sampling_rate in '/' of '.*' is \[-3.0\], expected one positive"
    ):
        read_recordings(make({"data": numbers(30, 3), "@sampling_rate": -3.0}))
    with pytest.raises(ValueError, match="channel 'data/1' is infinite"):
        read_recordings(make({"data": np.array([[0.0, np.inf]] * 5)}))


def test_real_worms(real_worms):
    behaviour = ["behavior/velocity", "behavior/head_angle", "behavior/angular_velocity"]
    with pytest.raises(ValueError, match="different rates: '2022-01-16-01-data' 1.357 Hz, '2022"):
        read_recordings(real_worms, behaviour)
    recordings = read_recordings(real_worms, behaviour, resample_hz=1.5)
    assert len(recordings) == len(real_worms)
    for recording in recordings:
        assert recording.channels == tuple(behaviour)
        assert recording.rate_hz == 1.5
        assert len(recording.breaks) == 0
        assert len(recording.values) in (883, 720, 721, 1024)
    (traces,) = read_recordings(real_worms[0], ["gcamp/trace_array_original"])
    assert len(traces.channels) > 100


def test_a_path_of_any_kind_is_one_file(make):
    class Named:
        def __fspath__(self):
            return str(path)

    path = make({"data": numbers(30, 3)})
    (recording,) = read_recordings(Named())
    np.testing.assert_array_equal(recording.values, numbers(30, 3))
