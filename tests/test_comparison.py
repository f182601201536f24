"""The table of runs: what is finished, how far it came, how good it is."""

import shutil

import pytest
from test_old_runs import OLD_RUNS

from ceneurovae.comparison import compare_runs


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
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        compare_runs(tmp_path / "deep" / "a" / "nothing")
