"""Population-based training with Ray: what members hand over, failures, and searches cut off."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_windows, tiny_config
from killed_runs import wait_for

from ceneurovae import import_h5, tune_population
from ceneurovae.evaluation import evaluate_run
from ceneurovae.generation import train_generation
from ceneurovae.pipeline import PackedData
from ceneurovae.population import Member, Population
from ceneurovae.ray_start import ray_running
from ceneurovae.ray_tuning import _resources
from ceneurovae.run_folder import RunFolder

ray = pytest.importorskip("ray", reason="Ray is large: pip install 'ceneurovae[ray]' to test it")
pytest.importorskip("ray.tune")

SPACE = {"lr": (1e-3, 1e-2, "log"), "dropout": (0.01, 0.5), "noise": ["shared", "channel"]}
QUICK = {"space": SPACE, "population": 2, "generations": 3, "epochs_per_generation": 2}

# Ray leaves pipes and sockets of its processes to the garbage collector.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_cpu():
    """Ray on one CPU: members train one after the other."""
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
    )
    yield
    ray.shutdown()


def searched(out, x, **settings):
    """A search on small data."""
    config = settings.pop("config", tiny_config(dropout=0.1))
    return tune_population(x, x[:20], out, config, **{**QUICK, **settings})


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """`(folder, result, what was reported)` of a search that went through."""
    out, seen = tmp_path_factory.mktemp("population"), []
    return out, searched(out, make_windows(60), report=seen.append), seen


def checkpoints(out, number):
    """Folders of the checkpoints of a member, one for each generation."""
    return sorted((out / "ray" / f"member_{number}").glob("checkpoint_*"))


def test_a_search_ends_in_a_run_with_its_schedule(search):
    out, result, seen = search
    assert result.run_dir == out / "best"
    run = RunFolder(result.run_dir)
    assert run.is_finished and run.load_model().encode(make_windows(5)).mu.shape == (5, 2)
    assert run.schedule == list(result.schedule)
    assert [row["generation"] for row in run.schedule] == [1, 2, 3]
    assert [row["epochs"] for row in run.schedule] == [2, 4, 6]
    assert run.schedule[-1]["hyperparameters"] == result.best
    assert set(result.best) == set(SPACE)
    assert run.training["lr"] == result.best["lr"] and run.config.noise == result.best["noise"]
    history = run.read_history()
    assert len(history) == 6
    for row in run.schedule:
        assert history[row["epochs"] - 1]["val_elbo"] == pytest.approx(row["score"])
    best = max(result.members, key=lambda member: member.score)
    assert best.score == run.schedule[-1]["score"] and best.generation == 3
    assert {member.status for members in seen for member in members} == {
        *("running", "waiting", "completed")
    }
    with open(out / "members.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2"]
    assert float(rows[best.number - 1]["score"]) == best.score


def test_a_member_that_takes_over_has_the_weights_of_its_source(search):
    out, _, _ = search
    x = make_windows(60)
    population = Population(tiny_config(dropout=0.1), **QUICK)
    handed_over = 0
    for number in (1, 2):
        for generation in (1, 2):
            before, after = Member(number), Member(number)
            after.take_over(checkpoints(out, number)[generation])
            began = after.schedule[generation - 1]
            # What was written is what comes out of training the source's state on.
            before.take_over(checkpoints(out, began["member"])[generation - 1])
            handed_over += began["member"] != number
            last = after.schedule[generation]
            assert last["member"] == number
            score = train_generation(population, before, last["hyperparameters"], x, x[:20])
            assert score == pytest.approx(last["score"], rel=1e-5)
            for own, theirs in zip(before.state.variables, after.state.variables, strict=True):
                np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5)
    assert handed_over == 2  # one after each generation


def test_the_worst_follows_the_best_near_its_hyperparameters(search):
    out, _, _ = search
    ends = []
    for number in (1, 2):
        member = Member(number)
        member.take_over(checkpoints(out, number)[0])
        ends.append(member.schedule[0])
    best = max(ends, key=lambda row: row["score"])
    after = Member(0)
    after.take_over(checkpoints(out, 3 - best["member"])[1])
    assert after.schedule[0] == best
    changed = after.schedule[1]["hyperparameters"]
    population = Population(tiny_config(dropout=0.1), **QUICK)
    assert changed != best["hyperparameters"] and population.within(changed) == changed


def test_a_search_that_is_over_is_left_as_it_is(search):
    out, result, _ = search
    written = (out / "best" / "model.keras").stat().st_mtime_ns
    again = searched(out, make_windows(60))
    assert (again.best, again.schedule) == (result.best, result.schedule)
    assert (out / "best" / "model.keras").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="has another generations: 3, received 4"):
        searched(out, make_windows(60), generations=4)
    with pytest.raises(FileExistsError, match="holds a search already"):
        searched(out, make_windows(60), resume=False)


SEARCH = """
import sys
sys.path.insert(0, {tests!r})
from conftest import make_windows, tiny_config
from ceneurovae import tune_population
x = make_windows(60)
tune_population(x, x[:20], {out!r}, tiny_config(dropout=0.1), **{quick!r})
"""


def test_a_killed_search_goes_on_to_the_same_end(search, tmp_path):
    code = SEARCH.format(tests=str(Path(__file__).parent), out=str(tmp_path), quick=QUICK)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **pipes)

    def in_second_generation():
        file = tmp_path / "members.json"
        rows = json.loads(file.read_text()) if file.exists() else []
        return [row["generation"] for row in rows if row["status"] == "running"] == [1]

    wait_for(process, in_second_generation)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "best").exists()
    _, result, _ = search
    again = searched(tmp_path, make_windows(60))
    assert [row["member"] for row in again.schedule] == [row["member"] for row in result.schedule]
    for row, other in zip(again.schedule, result.schedule, strict=True):
        assert row["hyperparameters"] == other["hyperparameters"]
        assert row["score"] == pytest.approx(other["score"], rel=1e-4)


class SecondFails:
    """A KL schedule that raises an error in the second training that begins.

    Args:
        folder: Empty folder to count them in.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, epoch):
        if epoch == 0:
            count = len(list(self.folder.iterdir()))
            (self.folder / str(count)).touch()
            if count == 1:
                raise KeyError("a")
        return 1.0


def test_members_that_fail_or_diverge_leave_the_others(tmp_path):
    (tmp_path / "begun").mkdir()
    x, out = make_windows(60), tmp_path / "out"
    result = searched(
        out,
        x,
        space={"lr": [2e-3, 1e30]},
        population=3,
        generations=2,
        epochs_per_generation=1,
        seed=1,
        kl_schedule=SecondFails(tmp_path / "begun"),
    )
    first, second, third = result.members
    assert (first.status, first.generation, first.source) == ("completed", 2, None)
    assert (second.status, second.message, second.score) == ("failed", "KeyError: 'a'", None)
    assert third.source == 1 and third.generation == 2  # it had diverged
    assert result.schedule[0]["member"] == 1
    with open(out / "members.csv", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)][:2] == ["completed", "failed"]


def test_a_search_of_a_file_is_evaluated(simulated_worms, tmp_path):
    data = import_h5(simulated_worms, ["behavior"], seq_len=12, stride=2, test_fraction=0.2)
    result = tune_population(
        *data[:2],
        tmp_path,
        tiny_config(hide=("entries",)),
        {"hide_share": (0.1, 0.5), "capacity": (0.0, 2.0)},
        population=1,
        generations=1,
        epochs_per_generation=1,
        objective="r2",
    )
    found = evaluate_run(result.run_dir, imputation=False)
    assert found.split == "test" and result.members[0].score < 1
    assert RunFolder(result.run_dir).training["epochs"] == 1


def test_resources_are_checked(tmp_path, monkeypatch):
    assert _resources(4, 0.5, None) == {"cpu": 0.5, "gpu": 0.0}
    with pytest.raises(ValueError, match="to have 8 CPUs, but Ray has 1 in all"):
        _resources(4, 8, None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    assert _resources(4, 1, None) == {"cpu": 1, "gpu": 0.5}
    assert _resources(1, 1, None) == {"cpu": 1, "gpu": 1.0}
    with pytest.raises(ValueError, match="cpus_per_member is 0, expected a number above 0"):
        searched(tmp_path, make_windows(60), cpus_per_member=0)
    with pytest.raises(ValueError, match="gpus_per_member is -1"):
        searched(tmp_path, make_windows(60), gpus_per_member=-1)
    with ray_running("203.0.113.1:6379"):  # the connection that there is is used
        assert ray.is_initialized()
    assert PackedData(make_windows(3)).unpacked().shape == (3, 12, 3)
