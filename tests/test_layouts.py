"""Each layout is found by looking inside, and read right."""

import datetime

import h5py
import numpy as np
import pytest

from ceneurovae import split_datasets
from ceneurovae.readers import open_sources, read_recordings

RNG = np.random.default_rng(0)


def layout_of(path):
    with open_sources(path) as (layout, _):
        return layout


def test_lfads_keeps_its_split(make):
    data = {
        f"{split}_{kind}": RNG.poisson(1, size=(count, 10, width))
        for split, count in (("train", 12), ("valid", 4))
        for kind, width in (("encod_data", 3), ("recon_data", 5))
    }
    path = make({**data, "train_inds": np.arange(12), "valid_inds": np.arange(4)})
    assert layout_of(path) == "lfads"
    train, valid = read_recordings(path)
    assert (train.name, valid.name) == ("file/train", "file/valid")
    splits = split_datasets([train, valid], seq_len=10)
    np.testing.assert_array_equal(splits.train.gather(), data["train_encod_data"])
    np.testing.assert_array_equal(splits.valid.gather(), data["valid_encod_data"])
    assert len(splits.test) == 0
    wide, _ = read_recordings(path, "recon_data")
    assert len(wide.channels) == 5
    by_time = split_datasets([train, valid], seq_len=10, by="time", gap=0, valid_fraction=0.25)
    assert len(by_time.train) == 9 + 3


def test_traces_keep_names_rates_and_breaks(make):
    values = RNG.normal(size=(30, 2)).astype("float32")
    content = {
        "@layout": "traces",
        "data/one/values": values,
        "data/one/values@channel_names": ["neural/N1", "speed"],
        "data/one/observed": np.ones((30, 2), bool),
        "data/one/breaks": [10, 25],
        "data/one@sampling_rate": 4.0,
        "other/values": values[:20],
        "other/channel_names": ["neural/N1", "speed"],
    }
    path = make(content)
    assert layout_of(path) == "traces"
    one, other = read_recordings(path)
    assert (one.name, other.name) == ("file/data/one", "file/other")
    assert one.channels == other.channels == ("neural/N1", "speed")
    assert (one.rate_hz, other.rate_hz) == (4, None)
    assert one.stretches.tolist() == [[0, 10], [10, 25], [25, 30]]
    np.testing.assert_array_equal(read_recordings(path, "values")[0].values, values)
    assert read_recordings(path, layout="groups")[0].channels == one.channels
    for breaks in ([25, 10], [0], [30], [2.5], ["a"]):
        bad = make({**content, "data/one/breaks": breaks}, "bad.h5")
        with pytest.raises(ValueError, match=r"has breaks .*, expected ascending whole numbers"):
            read_recordings(bad)


def test_sleap_axes_come_last_to_first(make):
    frames, nodes = 40, ["head", "tail", "wing"]
    tracks = RNG.normal(size=(2, 2, 3, frames))
    tracks[0, :, 1, 7] = np.nan
    path = make({"tracks": tracks, "node_names": nodes, "track_names": ["a", "b"]})
    assert layout_of(path) == "sleap"
    first, second = read_recordings(path)
    assert (first.name, second.name) == ("file/a", "file/b")
    assert first.channels == ("head/x", "head/y", "tail/x", "tail/y", "wing/x", "wing/y")
    np.testing.assert_allclose(second.values[:, 4], tracks[1, 0, 2], rtol=1e-6)
    assert np.argwhere(np.isnan(first.values)).tolist() == [[7, 2], [7, 3]]
    (tails,) = [r for r in read_recordings(path, ["tail"]) if r.name == "file/b"]
    np.testing.assert_allclose(tails.values[:, 1], tracks[1, 1, 1], rtol=1e-6)


def pose_table(frames=30):
    """Columns of DeepLabCut: `(scorer, part, coordinate)`, and values, one point unlikely."""
    parts = ["nose", "tail"]
    columns = [("net", part, axis) for part in parts for axis in ("x", "y", "likelihood")]
    values = RNG.uniform(10, 20, size=(frames, len(columns)))
    values[:, [2, 5]] = 1.0
    values[3, 2] = 0.5
    return columns, values


def check_pose(path, values):
    assert layout_of(path) == "deeplabcut"
    (recording,) = read_recordings(path)
    assert recording.channels == ("nose/x", "nose/y", "tail/x", "tail/y")
    expected = values[:, [0, 1, 3, 4]].astype("float32")
    expected[3, :2] = np.nan
    np.testing.assert_allclose(recording.values, expected, rtol=1e-6)
    (lenient,) = read_recordings(path, min_likelihood=0.4)
    assert not np.isnan(lenient.values).any()


def test_deeplabcut_csv(tmp_path):
    columns, values = pose_table()
    head = [
        ",".join([name, *cells])
        for name, cells in zip(
            ("scorer", "bodyparts", "coords"), zip(*columns, strict=True), strict=True
        )
    ]
    rows = [",".join([str(i), *(repr(float(v)) for v in row)]) for i, row in enumerate(values)]
    path = tmp_path / "pose.csv"
    path.write_text("\n".join([*head, *rows]) + "\n")
    check_pose(path, values)
    path.write_text("\n".join([*head, *rows, "30,1.0"]) + "\n")
    with pytest.raises(ValueError, match="has rows of different lengths"):
        read_recordings(path)
    path.write_text("time,x\n0,1\n")
    with pytest.raises(ValueError, match="is not a file that can be read"):
        read_recordings(path)


@pytest.mark.parametrize("kind", ["table", "fixed"])
def test_deeplabcut_hdf5_as_pandas_writes_it(tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    columns, values = pose_table()
    index = pandas.MultiIndex.from_tuples(columns, names=["scorer", "bodyparts", "coords"])
    frame = pandas.DataFrame(values, columns=index)
    frame.to_hdf(tmp_path / "pose.h5", key="df_with_missing", format=kind, mode="w")
    check_pose(tmp_path / "pose.h5", values)


def test_several_animals_of_deeplabcut(tmp_path):
    head = "scorer,n,n,n,n\nindividuals,a,a,b,b\nbodyparts,nose,nose,nose,nose\ncoords,x,y,x,y\n"
    path = tmp_path / "pose.csv"
    path.write_text(head + "0,1,2,3,4\n1,,6,7,8\n")
    first, second = read_recordings(path)
    assert (first.name, second.name) == ("pose/a", "pose/b")
    np.testing.assert_array_equal(first.values, [[1, 2], [np.nan, 6]])
    np.testing.assert_array_equal(second.values, [[3, 4], [7, 8]])
    assert first.labels == {"individual": "a"}


def test_a_pickle_in_a_file_cannot_run_anything(make):
    evil = b"cos\nsystem\n(S'touch /tmp/pwned'\ntR."
    table = np.zeros(5, dtype=[("index", "i8"), ("values_block_0", "f8", (3,))])
    path = make({"df/table": table, "df/table@values_block_0_kind": np.bytes_(evil)})
    with pytest.raises(ValueError, match="holds no numeric dataset"):
        read_recordings(path)


def test_npy_and_npz_mean_the_same_as_hdf5(tmp_path, make):
    values = RNG.normal(size=(30, 3)).astype("float32")
    mask = np.ones((30, 3))
    mask[2, 1] = 0
    content = {"data": values, "mask": mask, "sampling_rate": 5.0, "channel_names": ["a", "b", "c"]}
    np.savez(tmp_path / "file.npz", **content)
    (packed,) = read_recordings(tmp_path / "file.npz")
    (stored,) = read_recordings(make({**content, "channel_names": np.bytes_(["a", "b", "c"])}))
    assert packed.channels == stored.channels == ("data/a", "data/b", "data/c")
    assert packed.rate_hz == stored.rate_hz == 5
    np.testing.assert_array_equal(packed.values, stored.values)
    assert np.isnan(packed.values[2, 1])

    np.save(tmp_path / "one.npy", values)
    (alone,) = read_recordings(tmp_path / "one.npy")
    np.testing.assert_array_equal(alone.values, values)
    np.save(tmp_path / "many.npy", values.reshape(5, 6, 3))
    (many,) = read_recordings(tmp_path / "many.npy")
    assert many.window_len == 6
    np.savez(tmp_path / "groups.npz", **{"w1/neural": values, "w2/neural": values[:20]})
    assert [r.name for r in read_recordings(tmp_path / "groups.npz")] == ["groups/w1", "groups/w2"]


def test_numpy_files_that_cannot_be_read(tmp_path):
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"holds <U1 of shape \(2,\), expected numbers"):
        read_recordings(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is no NPY file that can be read"):
        read_recordings(tmp_path / "objects.npy")
    np.savez(tmp_path / "good.npz", data=RNG.normal(size=(50, 2)))
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "bad.npz").write_bytes(whole[:300] + bytes(60) + whole[360:])
    with pytest.raises(ValueError, match="is damaged, it cannot be unpacked"):
        read_recordings(tmp_path / "bad.npz")
    np.save(tmp_path / "wide.npy", np.zeros((2, 200_000), dtype="float32"))
    with pytest.raises(ValueError, match="has 200000 channels, expected at most 100000. If time"):
        read_recordings(tmp_path / "wide.npy")
    (recording,) = read_recordings(tmp_path / "wide.npy", transpose=True)
    assert recording.values.shape == (200_000, 2)


def test_series_of_unequal_length(tmp_path):
    path = tmp_path / "vowels.ts"
    path.write_text(
        "# a note\n@problemName vowels\n@classLabel true 1 2\n@data\n1,2,3:4,?,6:1\n7,8:9,10:2\n"
    )
    assert layout_of(path) == "ts"
    first, second = read_recordings(path)
    np.testing.assert_array_equal(first.values, [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(second.values, [[7, 9], [8, 10]])
    assert (first.name, first.labels) == ("vowels/1", {"class": "1"})
    path.write_text("@data\n1,2:3\n")
    with pytest.raises(ValueError, match="series 1: its channels are no numbers, or differ"):
        read_recordings(path)


def test_datasets_of_different_lengths_are_recordings(make):
    path = make({"w1": RNG.normal(size=(30, 2)), "w2": RNG.normal(size=(20, 2))})
    assert layout_of(path) == "recordings"
    first, second = read_recordings(path)
    assert (first.name, second.name) == ("file/w1", "file/w2")
    assert first.channels == second.channels == ("0", "1")
    same = make({"w1": RNG.normal(size=(30, 2)), "w2": RNG.normal(size=(30, 2))}, "same.h5")
    assert layout_of(same) == "arrays"
    assert len(read_recordings(same, layout="recordings")) == 2
    with pytest.raises(ValueError, match="does not have the layout 'sleap'"):
        read_recordings(same, layout="sleap")
    with pytest.raises(ValueError, match="layout is 'zarr', expected one of nwb, flavell, lfads"):
        read_recordings(same, layout="zarr")


def test_transposed_arrays(make):
    values = RNG.normal(size=(3, 40))
    (recording,) = read_recordings(make({"data": values}), transpose=True)
    np.testing.assert_allclose(recording.values, values.T, rtol=1e-6)
    windows = RNG.normal(size=(5, 3, 8))
    (recording,) = read_recordings(make({"data": windows}, "w.h5"), transpose=True)
    expected = windows.swapaxes(1, 2).reshape(40, 3)
    np.testing.assert_allclose(recording.values, expected, rtol=1e-6)


def test_labels_of_recordings_and_of_windows(make):
    path = make(
        {"a/data": RNG.normal(size=(30, 2)), "a@animal": "w1", "b/data": RNG.normal(size=(30, 2))}
        | {"b@animal": "w2", "@lab": "ours", "b/day": 3}
    )
    first, second = read_recordings(path)
    assert first.labels == {"lab": "ours", "animal": "w1"}
    assert second.labels == {"lab": "ours", "animal": "w2", "day": "3"}
    windows = make(
        {"data": RNG.normal(size=(4, 10, 2)), "labels": [b"x", b"y", b"x", b"y"]}, "w.h5"
    )
    (recording,) = read_recordings(windows)
    assert recording.labels["labels"].tolist() == ["x", "y", "x", "y"]


@pytest.fixture
def worm_nwb(tmp_path):
    """A whole-brain worm in NWB: labelled neurons, a velocity on the same clock, a slower one."""
    pynwb = pytest.importorskip("pynwb")
    from pynwb.behavior import BehavioralTimeSeries
    from pynwb.ophys import Fluorescence, ImageSegmentation, OpticalChannel

    start = datetime.datetime(2022, 1, 1, tzinfo=datetime.UTC)
    file = pynwb.NWBFile(
        session_description="a worm", identifier="id", session_start_time=start, session_id="s1"
    )
    file.subject = pynwb.file.Subject(subject_id="w7", species="Caenorhabditis elegans", age="P1D")
    plane = file.create_imaging_plane(
        name="plane",
        optical_channel=OpticalChannel(name="green", description="GCaMP", emission_lambda=510.0),
        description="head",
        device=file.create_device(name="microscope"),
        excitation_lambda=488.0,
        indicator="GCaMP",
        location="head",
    )
    segmentation = ImageSegmentation()
    table = segmentation.create_plane_segmentation(
        name="neurons", description="neurons", imaging_plane=plane
    )
    table.add_column(name="ID_labels", description="NeuroPAL identity")
    for label in ("AVAL", "", "AVAR", "RIML", ""):
        table.add_roi(pixel_mask=[(0, 0, 1.0)], ID_labels=label)
    module = file.create_processing_module(name="CalciumActivity", description="calcium")
    module.add(segmentation)
    values = RNG.normal(size=(60, 4))
    fluorescence = Fluorescence()
    module.add(fluorescence)
    fluorescence.create_roi_response_series(
        name="SignalDFoF",
        data=values,
        rois=table.create_roi_table_region(region=[4, 0, 1, 2], description="all"),
        unit="ratio",
        timestamps=np.arange(60) * 0.5,
    )
    behavior = file.create_processing_module(name="behavior", description="behaviour")
    velocity = pynwb.TimeSeries(
        name="velocity", data=np.arange(60), unit="mm/s", rate=2.0, conversion=0.5, offset=1.0
    )
    slow = pynwb.TimeSeries(name="temperature", data=np.arange(10.0), unit="C", rate=0.3)
    behavior.add(BehavioralTimeSeries(time_series=[velocity, slow]))
    shared = pynwb.TimeSeries(name="speed", data=velocity, unit="mm/s", rate=2.0)
    file.add_acquisition(shared)
    with pynwb.NWBHDF5IO(tmp_path / "worm.nwb", "w") as io:
        io.write(file)
    return tmp_path / "worm.nwb", values


DFOF = "processing/CalciumActivity/Fluorescence/SignalDFoF"
VELOCITY = "processing/behavior/BehavioralTimeSeries/velocity"


def test_nwb(worm_nwb):
    path, values = worm_nwb
    assert layout_of(path) == "nwb"
    with pytest.raises(ValueError, match="holds several sets of channels.*short names: neural"):
        read_recordings(path)
    (neural,) = read_recordings(path, "neural")
    names = ("unlabelled.0", "AVAL", "unlabelled.2", "AVAR")
    assert neural.channels == tuple(f"{DFOF}/{name}" for name in names)
    np.testing.assert_allclose(neural.values, values, rtol=1e-6)
    assert neural.rate_hz == 2
    assert neural.labels == {"subject": "w7", "session": "s1"}
    (both,) = read_recordings(path, [VELOCITY, f"{DFOF}/AVAR"])
    np.testing.assert_allclose(both.values[:, 0], np.arange(60) * 0.5 + 1)
    np.testing.assert_allclose(both.values[:, 1], values[:, 3], rtol=1e-6)
    (shared,) = read_recordings(path, "acquisition/speed")
    np.testing.assert_allclose(shared.values[:, 0], np.arange(60) * 0.5 + 1)
    with pytest.raises(ValueError, match="differ in length"):
        read_recordings(path, "behavior")
    (streamed,) = read_recordings(path, "neural", memory_gb=0)
    np.testing.assert_array_equal(streamed.values[5:9], neural.values[5:9])


def test_nwb_without_pynwb_says_what_to_install(worm_nwb, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynwb", None)
    with pytest.raises(ImportError, match=r"needs pynwb: pip install 'ceneurovae\[nwb\]'"):
        read_recordings(worm_nwb[0], "neural")


def test_an_nwb_file_that_breaks_its_schema(tmp_path):
    pytest.importorskip("pynwb")
    with h5py.File(tmp_path / "bad.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file["data"] = np.zeros((10, 2))
    with pytest.raises(ValueError, match=r"pynwb cannot read '.*bad.nwb'"):
        read_recordings(tmp_path / "bad.nwb")
