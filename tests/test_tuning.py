"""Searches: what is tried, how it is scored, and what happens to a search that is cut off."""

import csv
import json
import os
import pickle
import signal
import socket
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest
from conftest import tiny_config
from killed_runs import wait_for

from ceneurovae import VAEHyperModel, cli, import_h5, tune
from ceneurovae.evaluation import evaluate_run
from ceneurovae.hypermodel import OBJECTIVES, as_range
from ceneurovae.hypermodel import SPACE as DEFAULT_SPACE
from ceneurovae.pipeline import PackedData
from ceneurovae.run_folder import RunFolder
from ceneurovae.search import Trial
from ceneurovae.search_oracle import RandomOracle, make_oracle
from ceneurovae.search_table import trial_line, trials_table
from ceneurovae.trial_process import TrialProcess, memory_in_use
from ceneurovae.tuning import TuningResult

# Keras Tuner asks threads for their names in a way that Python has given up.
pytestmark = pytest.mark.filterwarnings(r"ignore:(currentThread|getName)\(\):DeprecationWarning")

SPACE = {"latent_dim": [1, 2, 3], "lr": (1e-3, 1e-2, "log")}
QUICK = {"space": SPACE, "epochs": 2, "isolate": False, "refit": False}


def searched(windows, out, **settings):
    """A search of this process on small data."""
    settings = {**QUICK, "tuner": "random", "max_trials": 2, **settings}
    return tune(windows, windows[:20], out, settings.pop("config", tiny_config()), **settings)


@pytest.fixture
def no_training(monkeypatch):
    """Leaves out the training with the best hyperparameters."""
    monkeypatch.setattr("ceneurovae.tuning.train", lambda *_, **__: None)


class Raises(keras.callbacks.Callback):
    """Raises an error in trials of models with so many latents."""

    def __init__(self, errors):
        super().__init__()
        self.errors = errors

    def on_epoch_begin(self, epoch, logs=None):
        if self.model.config.latent_dim in self.errors:
            raise self.errors[self.model.config.latent_dim]


@pytest.mark.parametrize("kind", [keras_tuner.RandomSearch, keras_tuner.Hyperband])
def test_keras_tuner_searches_the_hypermodel(kind, windows, tmp_path):
    size = {"max_epochs": 2} if kind is keras_tuner.Hyperband else {"max_trials": 2}
    tuner = kind(
        VAEHyperModel(tiny_config(), {"latent_dim": [1, 2]}),
        objective=keras_tuner.Objective("val_elbo", "max"),
        directory=tmp_path,
        **size,
    )
    tuner.search(windows, validation_data=windows[:20], epochs=2, verbose=0)
    trials = tuner.oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    best = tuner.get_best_hyperparameters()[0]
    model = tuner.get_best_models()[0]
    assert model.config.latent_dim == best.get("latent_dim")
    assert model.adapted and np.isfinite(model.encode(windows).mu).all()


def test_only_epochs_after_the_ramp_count(windows):
    hypermodel = VAEHyperModel(
        tiny_config(), {"latent_dim": [2]}, "r2", 1, warmup_epochs=3, kl_schedule="step", lr=1e-9
    )
    hp = keras_tuner.HyperParameters()
    seen = []

    class See(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, logs["kl_weight"]))

    model = hypermodel.build(hp)
    scores = hypermodel.fit(
        hp, model, windows, windows[:20], epochs=9, callbacks=[See()], verbose=0
    )
    assert seen[0] == (3, 1) and all(weight == 1 for _, weight in seen)
    assert scores["epochs"] == len(seen) + 3 < 9  # its patience was over
    assert -1 < scores["val_r2"] < 1
    assert hypermodel.objective == pickle.loads(pickle.dumps(hypermodel)).objective


def test_a_trial_without_a_score_has_failed(windows):
    hypermodel = VAEHyperModel(tiny_config(), {"latent_dim": [2]}, "r2", seed=0)
    hp = keras_tuner.HyperParameters()
    missing = np.full_like(windows[:20], np.nan)
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="R2 is not defined"):
        hypermodel.fit(hp, hypermodel.build(hp), windows, missing, epochs=1, verbose=0)


def test_what_is_chosen_is_valid():
    space = {
        "backbone": ["transformer"],
        "hidden_dim": [7],
        "hide": [("entries", "end")],
        "kl_weight": (0.5, 2.0),
        "num_layers": (1, 3),
    }
    hypermodel = VAEHyperModel(tiny_config(num_heads=4), space, batch_size=16)
    config, settings = hypermodel.chosen(keras_tuner.HyperParameters())
    assert (config.backbone, config.hidden_dim, config.hide) == (
        "transformer",
        8,
        ("entries", "end"),
    )
    assert (settings["kl_weight"], settings["batch_size"], settings["lr"]) == (0.5, 16, 2e-3)
    assert as_range("lr", [1e-3, 1e-2, "log"]) == (1e-3, 1e-2, "log")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": {"width": [1]}}, "has 'width', which cannot be searched; known are latent_dim"),
        ({"space": {"seq_len": [1]}}, "has 'seq_len', which cannot be searched"),
        ({"space": {"scale": ["none"]}}, r"differ in it cannot be compared. Leave it out\."),
        ({"space": {"reconstruction_loss": ["mse"]}}, "or choose objective='r2'"),
        ({"space": {"lr": (2, 1)}}, r"has \(2, 1\) for lr, expected a list of choices or a range"),
        ({"space": {"lr": (0.0, 1.0, "log")}}, "for lr, expected a list"),
        ({"space": {}}, "The space is empty"),
        ({"objective": "loss"}, "objective is 'loss', expected one of elbo, r2"),
        ({"rate": 1}, "rate is no setting; known are lr"),
    ],
)
def test_errors_of_the_space(arguments, message):
    with pytest.raises(ValueError, match=message):
        VAEHyperModel(tiny_config(), **arguments)


def test_a_search_ends_in_a_run_folder(simulated_worms, tmp_path):
    data = import_h5(simulated_worms, ["behavior"], seq_len=12, stride=2, test_fraction=0.2)
    seen = []
    arguments = {
        "config": tiny_config(),
        "space": SPACE,
        "max_trials": 2,
        "epochs": 2,
        "objective": "r2",
        "report": seen.append,
    }
    result = tune(*data[:2], tmp_path, **arguments)
    assert [trial.status for trial in result.trials] == ["completed"] * 2
    best = max(result.trials, key=lambda trial: trial.score)
    assert result.best == best.hyperparameters and set(result.best) == set(SPACE)
    assert all(trial.epochs == 2 and trial.seconds > 0 for trial in result.trials)
    assert {trial.status for trials in seen for trial in trials} == {"running", "completed"}
    assert result.run_dir == tmp_path / "best"
    run = RunFolder(result.run_dir)
    assert run.config.latent_dim == result.best["latent_dim"]
    assert run.training["lr"] == result.best["lr"] and run.training["refit"]
    assert evaluate_run(result.run_dir, imputation=False).split == "test"
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert [row["score"] for row in rows] == [trial.score for trial in result.trials]
    with open(tmp_path / "trials.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert list(row) == ["number", *SPACE, "status", "score", "epochs", "seconds", "message"]
    # The same call finds everything done; more trials may be asked for.
    written = (result.run_dir / "model.keras").stat().st_mtime_ns
    assert tune(*data[:2], tmp_path, **arguments).trials == result.trials
    assert (result.run_dir / "model.keras").stat().st_mtime_ns == written


def test_a_failed_trial_is_noted_and_the_search_goes_on(windows, tmp_path, no_training):
    space = {"latent_dim": [1, 2, 3, 4]}
    errors = {
        2: FloatingPointError("The loss became nan"),
        3: MemoryError("2 GB"),
        4: KeyError("a"),
    }
    result = searched(
        windows, tmp_path, space=space, max_trials=4, epochs=1, callbacks=[Raises(errors)]
    )
    found = {trial.hyperparameters["latent_dim"]: trial for trial in result.trials}
    messages = {latents: trial.message for latents, trial in found.items()}
    assert messages == {
        1: None,
        2: "The loss became nan",
        3: "MemoryError: 2 GB",
        4: "KeyError: 'a'",
    }
    assert result.best == {"latent_dim": 1}
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = {row["latent_dim"]: row for row in csv.DictReader(file)}
    assert [rows[name]["status"] for name in "1234"] == ["completed"] + ["failed"] * 3
    assert rows["2"]["message"] == "The loss became nan"


def test_a_search_in_which_all_fails_ends(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(RandomOracle, "most_failures", 2)
    errors = {2: FloatingPointError("The loss became nan")}
    space = {"latent_dim": [2], "lr": (1e-3, 1e-2)}
    with pytest.raises(ValueError, match="None of 2 trials was completed.*The loss became nan"):
        searched(windows, tmp_path, space=space, max_trials=9, callbacks=[Raises(errors)])


def test_a_search_is_resumed_replaced_or_left_alone(windows, tmp_path, no_training):
    first = searched(windows, tmp_path, max_trials=1)
    more = searched(windows, tmp_path, max_trials=2)
    assert more.trials[:1] == first.trials and len(more.trials) == 2
    with pytest.raises(ValueError, match="has another epochs: 2, received 3. Go on with its own"):
        searched(windows, tmp_path, epochs=3)
    with pytest.raises(FileExistsError, match="holds a search already"):
        searched(windows, tmp_path, resume=False)
    again = searched(windows, tmp_path, max_trials=1, epochs=1, overwrite=True)
    assert [trial.epochs for trial in again.trials] == [1]
    with pytest.raises(ValueError, match="tuner is 'grid', expected one of random"):
        searched(windows, tmp_path, tuner="grid")
    with pytest.raises(ValueError, match="max_trials is 0, expected a whole number"):
        searched(windows, tmp_path, max_trials=0)


def test_a_trial_whose_process_is_killed_has_failed(windows, tmp_path):
    task = {
        "hypermodel": VAEHyperModel(tiny_config(), SPACE),
        "data": (PackedData(windows), PackedData(windows[:20])),
        "epochs": 100,
        "callbacks": [],
    }
    process = TrialProcess(task, tmp_path / "log")
    hyperparameters = keras_tuner.HyperParameters().get_config()

    def kill(*_):
        process.process.kill()

    with pytest.raises(RuntimeError, match="was killed: perhaps there was not enough memory"):
        process.run(hyperparameters, kill)
    assert process.process is None
    assert memory_in_use() > 1e8
    with pytest.raises(ValueError, match="Give callbacks that can be pickled, or isolate=False"):
        TrialProcess({**task, "callbacks": [lambda: None]}, tmp_path / "log")


def test_data_stays_what_it_is_on_its_way(simulated_worms, windows):
    for memory_gb in (None, 0):
        data, _ = import_h5(simulated_worms, ["behavior"], seq_len=12, memory_gb=memory_gb)
        again = pickle.loads(pickle.dumps(PackedData.of(data))).unpacked()
        data.epoch.number = again.epoch.number = 1
        np.testing.assert_array_equal(next(iter(again)), next(iter(data)))
    mask = ~np.isnan(windows)
    packed = PackedData.of((np.where(mask, windows, 9.0).astype("float32"), mask))
    np.testing.assert_array_equal(packed.unpacked(), windows)


SEARCH = """
import sys
sys.path.insert(0, {tests!r})
from conftest import make_windows, tiny_config
from ceneurovae import search, search_oracle, tuning
search_oracle.LOST_AFTER_S, search.BEAT_EVERY_S = 10, 0.5
tuning.train = lambda *arguments, **settings: print("trained with the best")
x = make_windows(60)
space = {{"latent_dim": [1, 2, 3], "lr": (1e-3, 1e-2)}}
tuning.tune(
    x, x[:20], {out!r}, tiny_config(), space, "random", {trials}, {epochs}, isolate=False
)
"""


def start(out, trials, epochs, **environment):
    """A process that searches in a folder."""
    tests = os.path.dirname(__file__)
    code = SEARCH.format(tests=tests, out=str(out), trials=trials, epochs=epochs)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def statuses(out):
    """Statuses of the trials of a search, which may not have begun."""
    file = out / "trials.json"
    return [row["status"] for row in json.loads(file.read_text())] if file.exists() else []


@pytest.mark.once
def test_a_killed_search_goes_on(tmp_path):
    process = start(tmp_path, trials=2, epochs=4)
    wait_for(process, lambda: statuses(tmp_path) == ["completed", "running"])
    before = json.loads((tmp_path / "trials.json").read_text())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(tmp_path, trials=2, epochs=4)
    out, err = process.communicate()
    assert out == "trained with the best\n", err
    after = json.loads((tmp_path / "trials.json").read_text())
    assert [row["status"] for row in after] == ["completed"] * 2
    assert after[0] == before[0]
    assert after[1]["hyperparameters"] == before[1]["hyperparameters"]


@pytest.mark.once
def test_a_worker_that_is_killed_leaves_its_trial_to_another(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    names = ("chief", "worker0", "worker1")
    processes = [start(tmp_path, 4, 20, **address, KERASTUNER_TUNER_ID=name) for name in names]
    try:
        wait_for(processes[0], lambda: "completed" in statuses(tmp_path))
        processes[1].kill()
        told = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0], told
    assert [out for out, _ in told] == ["trained with the best\n", "", ""]  # by the chief alone
    assert statuses(tmp_path) == ["completed"] * 4
    oracle = json.loads((tmp_path / "search" / "oracle.json").read_text())
    assert sorted(oracle["end_order"]) == sorted(oracle["start_order"]) == list("0123")


def test_two_lost_workers_are_a_failed_trial(tmp_path, monkeypatch):
    oracle = make_oracle("random", 1, 2, "elbo", 0)
    oracle._set_project_dir(str(tmp_path), "search")
    oracle.hyperparameters.Choice("latent_dim", [1, 2])
    for worker in ("one", "two"):
        assert oracle.create_trial(worker).trial_id == "0"
        assert oracle.create_trial("other").status == "IDLE"
        monkeypatch.setattr("ceneurovae.search_oracle.LOST_AFTER_S", 0)
        oracle.forget_lost_workers()
        monkeypatch.undo()
    assert oracle.trials["0"].status == "FAILED" and oracle.is_over()
    assert oracle.create_trial("other").status == "STOPPED"


def test_trials_are_shown():
    trials = [
        Trial(1, {"lr": 0.00123, "backbone": "mlp"}, "completed", 12.5, 9, 3.0),
        Trial(2, {"lr": 0.01, "backbone": "mlp"}, "failed", message="The loss became nan"),
        Trial(3, {"lr": 0.02, "backbone": "mlp"}, "running", epochs=2),
    ]
    table = trials_table(trials)
    assert table.title == "3 trials, best ELBO so far: 12.5 of 1"
    assert [column.header for column in table.columns] == [
        "trial",
        "lr",
        "epochs",
        "ELBO",
        "status",
    ]
    assert trial_line(trials[0], trials[0]) == (
        "Trial 1: lr 0.00123, backbone mlp: 9 epochs, score 12.5, best 12.5"
    )
    assert trial_line(trials[1], None).endswith("failed: The loss became nan")


def test_the_command_line_searches(simulated_worms, tmp_path, capsys, monkeypatch):
    given, evaluated = {}, []

    def search(train_ds, valid_ds, out, config, space, *arguments, report, **settings):
        trials = [Trial(1, {"latent_dim": 5}, "completed", 2.5, 9, 3.0)]
        report(trials)
        given.update(data=train_ds, config=config, space=space, rest=arguments, **settings)
        return TuningResult({"latent_dim": 5}, tuple(trials), out / "best")

    def evaluate(run_dir, splits, imputation):
        evaluated.append((run_dir, splits is given["data"].splits))
        raise ValueError("enough")

    monkeypatch.setattr("ceneurovae.tuning.tune", search)
    monkeypatch.setattr("ceneurovae.evaluation.evaluate_run", evaluate)
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())

    def run(*options):
        out = tmp_path / "out"
        command = ["ceneurovae", "tune", simulated_worms, "--out", out, "--seq-len", 12, *options]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().err

    err = run("--hidden-dim", 8, "--lr", 1e-4, "--max-trials", 7, "--objective", "r2")
    assert "Trial 1: latent_dim 5: 9 epochs, score 2.5, best 2.5" in err and "enough" in err
    assert evaluated == [(tmp_path / "out" / "best", True)]
    assert (given["config"].hidden_dim, given["lr"]) == (8, 1e-4)
    assert set(given["space"]) == set(DEFAULT_SPACE) - {"hidden_dim", "lr"}
    assert given["rest"] == ("bayesian", 7, None, "r2", 10, 0)
    assert "kl_schedule" not in given and given["refit"]
    (tmp_path / "space.json").write_text('{"latent_dim": [2, 30, "log"]}')
    run("--space", tmp_path / "space.json")
    assert given["space"] == {"latent_dim": [2, 30, "log"]} and given["kl_schedule"] == "linear"
    (tmp_path / "space.json").write_text("[3]")
    assert "holds a list, expected names and" in run("--space", tmp_path / "space.json")
    assert "give a --valid-fraction above 0" in run("--valid-fraction", 0)


def test_objectives_are_of_weight_1():
    assert {name: o.name for name, o in OBJECTIVES.items()} == {"elbo": "val_elbo", "r2": "val_r2"}
    assert {o.direction for o in OBJECTIVES.values()} == {"max"}
