"""A run's splits are counted again from its files; a leak is found whoever made it."""

import json
import sys

import numpy as np
import pytest

from ceneurovae import cli
from ceneurovae.config import VAEConfig
from ceneurovae.import_data import load_splits, reload_splits
from ceneurovae.run_folder import RunFolder
from ceneurovae.verification import leak_in, verify_run, window_hashes


def make_run(path, splits):
    RunFolder.create(path, VAEConfig(channels=1), {}, splits.manifest())
    return path


@pytest.fixture
def run(make, tmp_path):
    rng = np.random.default_rng(0)
    path = make({"a/data": rng.normal(size=(300, 2)), "b/data": rng.normal(size=(200, 2))})
    splits = load_splits(path, seq_len=20, stride=3, test_fraction=0.2)
    return make_run(tmp_path / "run", splits), splits


def edit(run, change):
    path = run / "split.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_sound_run(run):
    path, splits = run
    report = verify_run(path)
    assert leak_in(report) is None
    counted = {(i, s + t) for i, s in zip(*splits.train.locate(), strict=True) for t in range(20)}
    assert report["train"]["samples"] == len(counted)
    assert report["train"]["windows"] == len(splits.train)
    assert report["test"]["recordings"] == ["file/a", "file/b"]
    assert report["shared_samples"] == report["repeated_windows"] == 0


def test_an_edited_split_is_found(run):
    path, splits = run

    def shift(manifest):
        for part in manifest["splits"]["test"]:
            part["first"] -= 90
            part["last"] -= 90

    edit(path, shift)
    report = verify_run(path)
    train, test = (
        {(i, s + t) for i, s in zip(*w.locate(), strict=True) for t in range(20)}
        for w in (splits.train, splits.test)
    )
    moved = {(i, t - 90) for i, t in test}
    valid = {(i, s + t) for i, s in zip(*splits.valid.locate(), strict=True) for t in range(20)}
    assert report["shared_samples"] == len(moved & (train | valid)) > 0
    assert "samples are in windows of two splits" in leak_in(report)
    with pytest.raises(ValueError, match="samples into two splits: it was changed"):
        reload_splits(RunFolder(path).manifest)


def test_windows_out_of_bounds_are_refused(run):
    edit(run[0], lambda m: m["splits"]["test"][0].update(last=10_000))
    with pytest.raises(ValueError, match="are not within their recording of 300 samples"):
        verify_run(run[0])


def test_a_recording_given_twice_leaks(make, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 2))
    path = make({f"{name}/data": values[i:] for i, name in enumerate("abcd")})
    splits = load_splits(path, seq_len=20, by="recording", valid_fraction=0.25)
    report = verify_run(make_run(tmp_path / "run", splits))
    assert report["shared_samples"] == 0
    assert report["repeated_windows"] >= len(splits.valid) - 3
    assert "hold the same values as the training data" in leak_in(report)


def test_values_that_never_change_are_no_copies(make, tmp_path):
    values = np.zeros((300, 2))
    values[:50] = np.random.default_rng(0).normal(size=(50, 2))
    splits = load_splits(make({"data": values}), seq_len=20, test_fraction=0.2)
    assert verify_run(make_run(tmp_path / "run", splits))["repeated_windows"] == 0


def test_hashes_are_those_of_the_values():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(100, 3)).astype("float32")
    values[70:90] = values[10:30]
    values[5, 1] = values[40, 2] = np.nan
    values[91:] = 4
    hashes, varied = window_hashes(values, 6)
    assert len(hashes) == 95
    same = {(i, j) for i in range(95) for j in range(i) if hashes[i] == hashes[j]}
    expected = {
        (i, j)
        for i in range(95)
        for j in range(i)
        if np.array_equal(values[i : i + 6], values[j : j + 6], equal_nan=True)
    }
    assert same == expected and (75, 15) in same
    assert varied.tolist() == [bool((values[i : i + 6] != values[i]).any()) for i in range(95)]


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ceneurovae", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, *capsys.readouterr()


def test_inspect_of_a_run(run, monkeypatch, capsys):
    path, splits = run
    code, out, _ = command(monkeypatch, capsys, "inspect", path)
    assert not code
    assert "no sample is in two splits" in out
    assert str(len(splits.test)) in out
    code, out, _ = command(monkeypatch, capsys, "inspect", path, "--json")
    assert json.loads(out)["runs"][0]["shared_samples"] == 0
    edit(path, lambda m: m["splits"].update(test=m["splits"]["train"]))
    code, _, err = command(monkeypatch, capsys, "inspect", path)
    assert code == 2
    assert "leak" in err and err.count("\n") == 1
