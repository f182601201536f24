"""Kills a training again and again, and compares what comes out with one that was left alone.

    KERAS_BACKEND=jax python tests/killed_runs.py --kills 20

Each time it is resumed, and killed with SIGKILL after a random time; then it is resumed to its end.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EPOCHS = 40


def start(run, epochs=EPOCHS):
    """A process that trains in the folder `run`, from where it is."""
    # The same code on the same number of threads, so that sums are made in the same order.
    command = [sys.executable, __file__, "--train", str(run), "--epochs", str(epochs)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Waits for a process, which has to succeed."""
    _, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(err)


def wait_for(process, condition):
    """Waits until a condition holds, or the process ends."""
    while process.poll() is None and not condition():
        time.sleep(0.01)


def train_here(run, epochs):
    """What the process does: dropout, hiding and draws are random; a checkpoint at every epoch."""
    import keras

    from ceneurovae import NeuroBehaviorVAE, VAEConfig, callbacks, import_h5, train
    from ceneurovae.simulation import simulate_worms

    callbacks.SAVE_EVERY_S = 0
    file = simulate_worms(run.parent / f"{run.name}.h5", recordings=2, samples=200, neurons=2)
    data = import_h5(file, ["behavior"], seq_len=12, stride=2, batch_size=16)
    keras.utils.set_random_seed(0)
    config = VAEConfig(
        seq_len=12,
        channels=3,
        latent_dim=2,
        hidden_dim=8,
        dropout=0.2,
        encoder_steps=0,
        hide=("entries",),
    )
    train(
        NeuroBehaviorVAE(config),
        *data,
        epochs=epochs,
        lr=1e-3,
        refit=True,
        seed=3,
        run_dir=run,
        resume=True,
        verbose=0,
    )


def largest_difference(one, other):
    """Between history, state and model of two runs: in units of the largest value of each array."""
    from ceneurovae.run_folder import RunFolder

    runs = RunFolder(one), RunFolder(other)
    histories = [run.read_history() for run in runs]
    if [list(row) for row in histories[0]] != [list(row) for row in histories[1]]:
        raise AssertionError("The histories have other epochs or columns.")
    pairs = [
        (np.array(list(a.values())), np.array(list(b.values())))
        for a, b in zip(*histories, strict=True)
    ]
    pairs += zip(*(run.load_model().get_weights() for run in runs), strict=True)
    states = [run.read_checkpoint() for run in runs]
    for name in ("variables", "optimizer", "best_weights"):
        pairs += zip(*(getattr(state, name) for state in states), strict=True)
    return max(
        float(np.max(np.abs(a.astype("float64") - b)) / max(np.abs(a).max(), 1e-9))
        for a, b in pairs
        if a.size
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, help="train in this folder, which is what is killed")
    arguments = parser.parse_args()
    if arguments.train is not None:
        train_here(arguments.train, arguments.epochs)
        return
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        begun = time.monotonic()
        finish(start(whole, arguments.epochs))
        seconds = time.monotonic() - begun
        for kill in range(arguments.kills):
            process = start(killed, arguments.epochs)
            after = rng.uniform(0, seconds)
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
            _, err = process.communicate()
            if process.returncode > 0:
                raise RuntimeError(err)
            print(f"kill {kill + 1} after {after:.1f} s of {seconds:.1f}", flush=True)
        finish(start(killed, arguments.epochs))
        print(f"largest relative difference: {largest_difference(whole, killed)}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
