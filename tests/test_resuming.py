"""Trainings that are killed, interrupted, diverge or run out of room go on, or say why not."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import killed_runs
import numpy as np
import pytest
from conftest import tiny_config
from test_selection import curve

from ceneurovae import NeuroBehaviorVAE, import_h5, train
from ceneurovae.callbacks import Interrupted
from ceneurovae.checkpoint import FitState, weights_of
from ceneurovae.run_folder import RunFolder
from ceneurovae.whole_file import whole_file


def new_model(**fields):
    keras.utils.set_random_seed(0)
    return NeuroBehaviorVAE(tiny_config(**fields))


def settings_for(run, **settings):
    return {"epochs": 4, "lr": 1e-3, "seed": 1, "run_dir": run, "verbose": 0, **settings}


def epochs_in(run):
    """Epochs in the history of a run that may not be there yet."""
    history = run / "history.csv"
    return history.read_text().count("\n") - 1 if history.exists() else 0


class At(keras.callbacks.Callback):
    """Calls a function without arguments when an epoch begins, once."""

    def __init__(self, epoch, function):
        super().__init__()
        self.epoch, self.function = epoch, function

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.epoch = None
            self.function()


def test_a_killed_training_ends_as_one_that_was_left_alone(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    killed_runs.finish(killed_runs.start(whole, epochs=6))
    process = killed_runs.start(killed, epochs=6)

    killed_runs.wait_for(process, lambda: epochs_in(killed) >= 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "choices.json").exists()
    killed_runs.finish(killed_runs.start(killed, epochs=6))
    exact = keras.backend.backend() in ("jax", "tensorflow")
    assert killed_runs.largest_difference(whole, killed) <= (0 if exact else 1e-6)
    assert not list(killed.glob(".*-*"))  # what was being written when it was killed


def test_an_interrupted_training_keeps_its_last_epoch(windows, tmp_path):
    number = signal.SIGTERM  # a cluster's; Ctrl-C is below, on the command line

    def go(run, **settings):
        return train(new_model(), windows, windows, **settings_for(run, **settings))

    history = go(tmp_path / "whole")
    before = signal.getsignal(number)
    stop = At(2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match="Interrupted in epoch 3. To go on: .*--resume") as caught:
        go(tmp_path / "cut", callbacks=[stop])
    assert caught.value.number == number
    assert signal.getsignal(number) is before
    assert RunFolder(tmp_path / "cut").read_checkpoint().epoch == 2
    resumed = go(tmp_path / "cut", resume=True)
    assert resumed.epoch == history.epoch == [0, 1, 2, 3]
    for name, values in history.history.items():
        np.testing.assert_allclose(resumed.history[name], values, rtol=1e-6)
    residuals = [choices.pop("residual") for choices in (resumed.choices, history.choices)]
    assert residuals[0] == pytest.approx(residuals[1], rel=1e-5)
    assert resumed.choices == pytest.approx(history.choices, rel=1e-5)


@pytest.mark.once
def test_a_refit_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    class InRefit(keras.callbacks.Callback):
        def for_refit(self) -> At:
            return At(2, lambda: os.kill(os.getpid(), signal.SIGTERM))

    def go(**settings: Any) -> Any:
        model = new_model(latent_dim=1, hidden_dim=32)
        settings = settings_for(tmp_path, epochs=15, lr=5e-3, batch_size=32, **settings)
        return train(model, curve(640, 0), curve(100, 1), refit=True, **settings)

    with pytest.raises(Interrupted, match="Interrupted in epoch 3"):
        go(callbacks=[InRefit()])
    state = RunFolder(tmp_path).read_checkpoint()
    assert state.phase == "refit" and state.choices["decoder_gain"] > 0
    resumed = go(resume=True)
    assert resumed.choices == state.choices and RunFolder(tmp_path).is_finished
    # What is resumed is what was trained, not a fresh model.
    x = curve(100, 1)
    assert np.square(RunFolder(tmp_path).load_model().reconstruct(x) - x).mean() < 0.01


def test_training_in_a_thread_can_be_told_nothing_by_signals(windows):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(train(new_model(), windows, epochs=1, verbose=0))
    )
    thread.start()
    thread.join()
    assert len(done) == 1


@pytest.mark.once
def test_a_finished_run_is_loaded(windows, tmp_path):
    first = new_model()
    history = train(first, windows, windows, **settings_for(tmp_path, epochs=2))
    again = NeuroBehaviorVAE(tiny_config())
    loaded = train(again, windows, windows, **settings_for(tmp_path, epochs=2, resume=True))
    assert loaded.epoch == history.epoch
    np.testing.assert_array_equal(again.encode(windows).mu, first.encode(windows).mu)


@pytest.mark.once
def test_only_the_same_training_is_resumed(simulated_worms, windows, tmp_path):
    def go(data, **settings):
        train(new_model(), *data, **settings_for(tmp_path, epochs=1, **settings))

    data = import_h5(simulated_worms, ["behavior"], seq_len=12)
    go(data, resume=True)  # there is nothing to resume: it begins
    with pytest.raises(ValueError, match=r"has lr=0.001, received 0.1. Resume it with its own"):
        go(data, resume=True, lr=0.1)
    with pytest.raises(ValueError, match="was trained on other data"):
        go(import_h5(simulated_worms, ["behavior"], seq_len=12, stride=2), resume=True)
    environment = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps({**environment, "backend": "theano"}))
    with pytest.raises(ValueError, match="was trained on theano.*Set KERAS_BACKEND=theano"):
        go(data, resume=True)
    environment["files"][0]["sha256"] = "0"
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(ValueError, match="worms.h5' has changed since the run"):
        go(data, resume=True)
    (tmp_path / "checkpoint.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is not a checkpoint of this version"):
        RunFolder(tmp_path).read_checkpoint()


@pytest.mark.once
def test_a_run_has_one_trainer(windows, tmp_path):
    def second():
        with pytest.raises(BlockingIOError, match=f"is being trained by process {os.getpid()} on"):
            train(new_model(), windows, **settings_for(tmp_path, overwrite=True))

    train(new_model(), windows, **settings_for(tmp_path, epochs=1, callbacks=[At(0, second)]))
    train(new_model(), windows, **settings_for(tmp_path, epochs=1, overwrite=True))


def test_retries_go_on_with_half_the_rate(windows, tmp_path):
    model = new_model()

    def spoil():
        model.set_weights([w * np.nan for w in model.get_weights()])

    with pytest.warns(UserWarning, match="nan in epoch 2.*from epoch 2 with half the learning"):
        history = train(
            model,
            windows,
            windows,
            **settings_for(tmp_path, epochs=3, retries=1, callbacks=[At(1, spoil)]),
        )
    assert history.epoch == [0, 1, 2]
    assert np.isfinite(history.history["loss"]).all()
    assert RunFolder(tmp_path).read_checkpoint().rate == 0.5


@pytest.mark.parametrize("seed", [0, 2])
def test_a_loss_that_explodes_names_the_channel(windows, seed):
    x = np.nan_to_num(windows)
    model = new_model(reconstruction_loss="mse")
    model.adapt(x)
    x[7, :, 1] = 1e8
    # With the other seed it is in the first batch, and to be seen from the second epoch on.
    epoch = 1 if seed == 0 else 2
    with pytest.raises(FloatingPointError, match=rf"epoch {epoch}, batch .* that of channel '1'"):
        train(model, x, epochs=2, batch_size=5, seed=seed, verbose=0)


@pytest.mark.once
def test_an_epoch_of_the_ramp_cannot_be_the_best(windows):
    """At a weight near 0 reconstructions are best: what is watched must not be fooled."""
    history = train(
        new_model(),
        windows,
        windows,
        epochs=6,
        warmup_epochs=4,
        kl_schedule="step",
        lr=1e-2,
        verbose=0,
    )
    assert history.history["kl_weight"] == [0, 0, 0, 0, 1, 1]
    assert history.choices["epoch"] >= 4


def test_the_best_weights_stay_what_they_were(windows):
    model = new_model()
    model.adapt(windows)
    kept = weights_of(model)
    before = [w.copy() for w in kept]
    train(model, windows, epochs=1, verbose=0)
    for was, now in zip(before, kept, strict=True):
        np.testing.assert_array_equal(was, now)
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights_of(model), strict=True)]
    assert any(moved)


def test_a_full_disk_leaves_what_was_there(windows, tmp_path):
    state = FitState(variables=[np.zeros(10)])
    state.write(tmp_path / "checkpoint.npz")
    large = FitState(variables=[np.random.default_rng(0).normal(size=100_000)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A process may write files of so many bytes only; Python ignores the signal that says so.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"no room to write '.*npz'.*that was there is intact"):
            large.write(tmp_path / "checkpoint.npz")
        with pytest.raises(OSError, match=r"no room to write '.*new.npz'.*Nothing was left"):
            large.write(tmp_path / "new.npz")
        model = new_model(hidden_dim=64)
        with pytest.raises(OSError, match="no room to write"):
            train(model, windows, **settings_for(tmp_path / "run", epochs=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(FitState.read(tmp_path / "checkpoint.npz").variables[0]) == 10
    assert [file.name for file in tmp_path.iterdir()] in (
        ["checkpoint.npz", "run"],
        ["run", "checkpoint.npz"],
    )


def test_other_errors_are_what_they_are(tmp_path):
    with pytest.raises(PermissionError, match="mine"), whole_file(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "mine")


@pytest.mark.once
def test_a_signal_after_the_last_step_is_not_lost(windows, tmp_path, monkeypatch):
    adapt_residual = NeuroBehaviorVAE.adapt_residual

    def signalled(self, *arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return adapt_residual(self, *arguments, **settings)

    monkeypatch.setattr(NeuroBehaviorVAE, "adapt_residual", signalled)
    model = NeuroBehaviorVAE(tiny_config())
    with pytest.raises(Interrupted, match="^Interrupted. To go on: .*--resume"):
        train(model, windows, windows, epochs=1, run_dir=tmp_path / "run", verbose=0)
    assert RunFolder(tmp_path / "run").is_finished


@pytest.mark.once
def test_the_command_line_ends_with_130_and_resumes(simulated_worms, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "ceneurovae", "train"]
    options = ["--seq-len", "12", "--latent-dim", "2", "--hidden-dim", "8", "--encoder-steps", "0"]
    options += ["--no-augment", "--no-refit", "--channels", "behavior", "--epochs", "400"]
    options += ["--warmup-epochs", "1", "--stride", "4", "--patience", "1"]
    process = subprocess.Popen(
        [*command, simulated_worms, "--out", run, *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    killed_runs.wait_for(process, lambda: epochs_in(run) >= 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"To go on: ceneurovae train --resume {run}" in err
    assert "Traceback" not in err
    done = subprocess.run([*command, "--resume", run, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Held-out test data" in done.stdout
    assert done.stderr == ""


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    FitState(subspace={"shrinkage": 0.5, "slowness": 1.0}, epoch=3).write(tmp_path / "now.npz")
    with np.load(tmp_path / "now.npz") as arrays:
        numbers = json.loads(str(arrays["state"]))
    del numbers["subspace"]
    numbers |= {"shrinkage": 0.5, "first_loss": 2.0}
    np.savez(tmp_path / "before.npz", state=np.array(json.dumps(numbers)))
    state = FitState.read(tmp_path / "before.npz")
    assert state.epoch == 3 and state.subspace == {"shrinkage": 0.5}
