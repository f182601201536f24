"""The table of runs: what is finished, how far it came, how good it is."""

import json
import shutil

import pytest
from test_old_runs import OLD_RUNS
from test_verdict import sound_evaluation

from ceneurovae.comparison import compare_runs
from ceneurovae.console import runs_table
from ceneurovae.run_folder import RunFolder


def test_runs_are_compared(tmp_path):
    for name in ("b", "deep/a"):
        shutil.copytree(OLD_RUNS[0], tmp_path / name)
    for name in ("choices.json", "metrics.json", "history.csv"):
        (tmp_path / "b" / name).unlink()
    begun, finished = compare_runs(tmp_path)
    assert (begun["path"], finished["path"]) == (str(tmp_path / "b"), str(tmp_path / "deep" / "a"))
    assert (begun["finished"], begun["epochs"], begun["valid_elbo"]) == (False, 0, None)
    assert (finished["finished"], finished["epochs"]) == (True, 3)
    assert finished["r2"] == {"encoder": 0.5}
    assert "r2" not in begun
    assert compare_runs(tmp_path / "b") == [begun]
    # Documents of this version beside those of earlier ones.
    RunFolder(tmp_path / "b").write_metrics(sound_evaluation(pca=0.6).to_json())
    now, before = compare_runs(tmp_path)
    assert now["r2"] == {"encoder": 0.8, "refined": pytest.approx(0.81), "pca": 0.6}
    assert now["split"] == before["split"] == "test" and before["r2"] == {"encoder": 0.5}
    columns = {column.header: list(column.cells) for column in runs_table([now, before]).columns}
    assert columns["R2"] == ["0.800", "0.500"] and columns["R2, PCA"] == ["0.600", "-"]
    config = json.loads((tmp_path / "deep" / "a" / "config.json").read_text())
    config["training"]["refit"] = True
    (tmp_path / "deep" / "a" / "config.json").write_text(json.dumps(config))
    assert not any(run["seen_in_training"] for run in compare_runs(tmp_path))
    seen = sound_evaluation(split="valid").to_json()
    RunFolder(tmp_path / "deep" / "a").write_metrics(seen)
    (run,) = compare_runs(tmp_path / "deep")
    assert run["seen_in_training"]
    columns = {column.header: list(column.cells) for column in runs_table([run, now]).columns}
    assert columns["R2"] == ["0.800 *", "0.800"] and columns["R2, PCA"] == ["0.600", "0.600"]
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        compare_runs(tmp_path / "deep" / "a" / "nothing")
