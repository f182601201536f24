"""What is said of a file, that large ones are sampled, and that the suggested command works."""

import json
import shlex
import warnings

import h5py
import numpy as np
import pytest
from typer.main import get_command

from ceneurovae import cli, inspection
from ceneurovae.cli.inspection import inspected
from ceneurovae.console import show_inspection
from ceneurovae.import_data import load_splits
from ceneurovae.inspection import inspect_file
from ceneurovae.labels import read_labels
from ceneurovae.readers import ReadOptions
from ceneurovae.simulation import simulate_worms
from ceneurovae.suggestion import suggest_commands

pytestmark = pytest.mark.once
RNG = np.random.default_rng(0)
OPTIONS = (
    *("seq_len", "stride", "valid_fraction", "test_fraction", "gap", "by", "short", "seed"),
    *("align", "resample_hz", "memory_gb", "layout", "transpose", "min_likelihood"),
    "allow_external",
)


def splits_of(command):
    """The splits that a printed `ceneurovae train` command makes."""
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("ceneurovae", "train")
    given = get_command(cli.app).commands["train"].make_context("train", arguments).params
    channels = given["channels"] and given["channels"].split(",")
    return load_splits(given["files"], channels, **{name: given[name] for name in OPTIONS})


def works(path, **how):
    """The suggestion for a file, after its splits were made."""
    command = inspect_file(path, **how)["suggestion"]
    splits = splits_of(command)
    assert all(len(part) for part in splits), command
    return command, splits


def codes(report):
    return {w["code"] for recording in report["recordings"] for w in recording["warnings"]}


def walks(*shape):
    """Smooth values, the last axis but one being time."""
    steps = RNG.normal(size=shape)
    for t in range(1, shape[-2]):
        steps[..., t, :] += 0.9 * steps[..., t - 1, :]
    return steps


def flavell(frames=300):
    return {
        "gcamp/trace_array": walks(frames, 6),
        "gcamp/trace_array_original": walks(frames, 6),
        "gcamp/idx_splits": np.array([[1, 201], [200, frames]]),
        "behavior/velocity": walks(frames, 1)[:, 0],
        "behavior/head_angle": walks(frames, 1)[:, 0],
        "behavior/pumping": np.full(frames, np.nan),
        "timing/timestamp_confocal": np.arange(frames) * 0.6,
    }


def test_keys(make):
    report = inspect_file(make(flavell()))
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {
        *("path", "layout", "reading", "short_names", "recordings", "suggestion", "evaluation"),
    }
    assert report["layout"] == "flavell"
    assert report["short_names"]["behavior"][0] == "behavior/head_angle"
    (recording,) = report["recordings"]
    assert set(recording) == {
        *("name", "rate_hz", "interruptions", "breaks", "labels", "default", "blocks"),
        "warnings",
    }
    assert (recording["interruptions"], recording["breaks"]) == (1, [200])
    block = recording["blocks"][0]
    assert set(block) == {
        *("name", "shape", "samples", "window_len", "rate_hz", "duration_s", "sampled"),
        "channels",
    }
    assert block["duration_s"] == pytest.approx(180)
    assert block["sampled"] == 1
    assert {"interruption", "leakage", "all-missing"} <= codes(report)
    assert all(w["message"].endswith((".", ")")) for w in recording["warnings"])


def test_labels(make):
    path = make({"data": walks(40, 10, 3), "target": np.repeat([4, 2], 20), "@animal": "a7"})
    report = inspect_file(path)
    assert report["recordings"][0]["labels"] == [
        {"name": "animal", "values": 1, "distinct": 1, "first": "a7"},
        {"name": "target", "values": 40, "distinct": 2, "first": "4"},
    ]
    assert codes(report) == {"sorted-labels"}


def test_clean_files_get_no_warning(tmp_path):
    report = inspect_file(simulate_worms(tmp_path / "worms.h5"))
    assert codes(report) == set()


def test_large_blocks_are_sampled(make, monkeypatch):
    path = make({"data": walks(5000, 4), "windows": walks(500, 10, 3)})
    monkeypatch.setattr(inspection, "READ_AT_MOST", 16_000)
    read = []
    monkeypatch.setattr(
        "ceneurovae.readers.source.Block.read",
        lambda block, start, stop: (
            read.append(stop - start) or np.zeros((stop - start, len(block.channels)))
        ),
    )
    (recording,) = inspect_file(path)["recordings"]
    shares = {block["name"]: block["sampled"] for block in recording["blocks"]}
    assert 0.05 < shares["data"] <= 0.1
    assert 0.05 < shares["windows"] < 0.15
    assert max(read) < 100
    messages = [w["message"] for w in recording["warnings"] if w["code"] == "constant-channel"]
    assert all("of the samples that were looked at" in message for message in messages)


def test_a_dataset_that_claims_too_much(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("data", (10**10, 4), dtype="f4", chunks=(1000, 4))
    with pytest.raises(ValueError, match="claims 160 GB"):
        inspect_file(tmp_path / "huge.h5")


def test_suggestion_for_groups(simulated_worms):
    command, splits = works(simulated_worms)
    assert "--channels" not in command
    assert splits.train.seq_len == 12


def test_suggestion_for_arrays(make):
    command, splits = works(make({"data": walks(1000, 3)}))
    assert splits.train.seq_len == 60
    assert command.endswith("--latent-dim 8 --out runs/file")
    command, splits = works(make({"data": walks(40, 10, 3), "other": walks(40, 10, 2)}))
    assert "--channels data" in command and "--seq-len" not in command
    assert splits.train.seq_len == 10
    works(make({"data": walks(3, 50, 3)}))  # three windows only


def test_suggestion_for_worms_takes_behavior(make):
    with pytest.warns(UserWarning, match="missing .NaN. throughout: behavior/pumping"):
        command, splits = works(make(flavell()))
    assert "--channels behavior" in command
    assert splits.train.channels == ("behavior/head_angle", "behavior/velocity")


def test_suggestion_for_short_recordings(make):
    command, _ = works(make({f"r{i}": walks(10 + i, 3) for i in range(9)}))
    assert "--by recording --short pad" in command
    command, _ = works(make({"data": walks(30, 3)}))
    assert "--seq-len 3" in command
    assert inspect_file(make({"data": walks(3, 2)}))["suggestion"] is None


def test_suggestion_leaves_out_what_cannot_be_used(make):
    values = walks(500, 5)
    values[:, 1] = np.nan
    _, splits = works(make({"data": values}))
    assert splits.train.channels == ("data/0", "data/2", "data/3", "data/4")
    values[7, 3] = np.inf
    command, splits = works(make({"data": values}))
    assert "--channels data/0,data/2,data/4" in command


def test_suggestion_swaps_the_axes(make):
    path = make({"data": walks(500, 3).T})
    assert codes(inspect_file(path)) == {"transposed-axes"}
    command, splits = works(path)
    assert "--transpose" in command
    assert len(splits.train.channels) == 3
    assert codes(inspect_file(path, ReadOptions(transpose=True))) == set()
    assert inspected([path], ReadOptions())["suggestion"] == command


def test_suggestion_for_several_files(make):
    first, second = flavell(), flavell(400)
    second["timing/timestamp_confocal"] = np.arange(400) * 0.5
    del second["behavior/head_angle"]
    paths = [make(first, "first file.h5"), make(second, "second.h5")]
    command = suggest_commands(paths, [inspect_file(path) for path in paths]).train
    assert "--align intersection --resample-hz 1.66667" in command
    with pytest.warns(UserWarning, match="missing .NaN. throughout"):
        splits = splits_of(command)
    assert splits.train.channels == ("behavior/velocity",)
    assert [len(part) > 0 for part in splits] == [True] * 3


def test_suggestion_keeps_the_split_of_the_file(make):
    data = {f"{part}_encod_data": walks(6, 12, 3) for part in ("train", "valid")}
    command = inspect_file(make(data))["suggestion"]
    splits = splits_of(command)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (6, 6, 0)
    assert "--no-refit" in command  # on the windows that it is scored on


def test_suggestion_decodes_what_stands_beside_the_channels(make):
    trials = walks(40, 10, 3)
    content = {
        "data": trials,
        "hand": walks(40, 10, 2),
        "still": np.ones((40, 10)),
        "half": walks(40, 5, 2),
        "many": walks(40, 10, 30),
        "two words": walks(40, 10, 1),
        "state": np.tile([0, 1], 20),
    }
    path = make(content)
    words = shlex.split(inspect_file(path)["evaluation"])
    assert words[:4] == ["ceneurovae", "evaluate", "runs/file", "--decode"]
    splits = works(path)[1]
    assert splits.train.channels == ("data/0", "data/1", "data/2")
    assert set(words[4:]) == {"state", "hand", "two words"}
    assert {label.name for label in read_labels(splits, words[4:])} == {
        *("state", "hand/0", "hand/1", "two words/0")
    }


TRIALS = {"data": walks(40, 10, 3), "hand": walks(40, 10, 2), "sorted": np.repeat([0, 1], 20)}


@pytest.mark.parametrize(
    ("content", "checks"),
    [
        (TRIALS, "--null 3"),
        ({**TRIALS, "state": np.tile([0, 1], 20)}, "--decode state"),
        ({"data": walks(900, 3)}, "--null 3"),
        ({"data": walks(900, 1)}, None),
        ({"data": walks(12, 50, 3), "state": np.tile([0, 1], 6)}, "--null 3"),
    ],
    ids=["sorted", "sorted, and a label that is not", "no labels", "one channel", "few windows"],
)
def test_suggestion_without_labels(make, content, checks):
    command = inspect_file(make(content))["evaluation"]
    assert command == (checks and f"ceneurovae evaluate runs/file {checks}")


def test_suggestion_names_a_free_folder(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "file").mkdir(parents=True)
    (tmp_path / "runs" / "file" / "config.json").write_text("{}")
    assert inspect_file(make({"data": walks(900, 2)}))["suggestion"].endswith("runs/file-2")


def test_everything_is_printed(make, capsys):
    path = make({f"r{i:02}": walks(50 + i, 3) for i in range(12)})
    files = [inspect_file(path), inspect_file(make(flavell(), "worm.h5"))]
    show_inspection({"files": files, "suggestion": None, "evaluation": None})
    out = capsys.readouterr().out
    assert "file/r00 to file/r11, 12 recordings: rate unknown" in out
    assert "(50 to 61, 3)" in out
    assert "too-short: file/r00: The longest stretch of 50 samples is shorter than a window" in out
    assert "too-short: also in file/r01, " in out
    assert "interruption: A new stretch begins at sample 200" in out
    assert out.count("To train:\n  ceneurovae train ") == 2
    assert out.count("Then, to see what it learned:\n  ceneurovae evaluate runs/") == 2
    assert "All together: no command can be suggested" in out


def test_real_recordings(real_data):
    files = sorted(path for path in real_data.glob("*/*.*") if path.suffix != ".md")
    expected = {
        "worm_flavell": "leakage",
        "macaque_reach": "sorted-labels",
        "vowels_unequal_length": "too-short",
    }
    for path in files:
        if path.suffix == ".nwb":
            pytest.importorskip("pynwb")
        report = inspect_file(path)
        assert expected.get(path.parent.name, "") in codes(report) | {""}, path
        if path.suffix == ".ts":
            assert "--by recording --short pad" in report["suggestion"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of channels that are missing throughout
            splits = splits_of(report["suggestion"])
        assert all(len(part) for part in splits), path
