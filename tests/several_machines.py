"""One of the processes of a training, which may be told to kill itself.

    KERAS_BACKEND=jax python tests/several_machines.py EPOCH RUN [worms.h5]

Trains on the file, or goes on with the run as the command line does. It is killed with SIGKILL when
it begins EPOCH, from 0; -1 for never. A checkpoint is written after each epoch.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras

from ceneurovae import NeuroBehaviorVAE, VAEConfig, callbacks, cli, fitting, train
from ceneurovae.config import fitted_to
from ceneurovae.import_data import load_splits
from ceneurovae.machines import join_machines
from ceneurovae.pipeline import stream

EPOCHS, STEPS, SEED = 10, 20, 3


def train_here(run: Path, file: Path, distribute: str | None = None) -> None:
    """20 steps, of whose draws and dropout each machine makes its part; as `train_run` does it."""
    splits = load_splits(file, ["behavior"], seq_len=12, test_fraction=0.11, stride=2)
    train_ds, valid_ds, _ = stream(splits, len(splits.train) * EPOCHS // STEPS, seed=SEED)
    config = VAEConfig(latent_dim=2, hidden_dim=8, encoder_steps=0, dropout=0.2)
    keras.utils.set_random_seed(SEED)
    train(
        NeuroBehaviorVAE(fitted_to(config, splits.train)),
        train_ds,
        valid_ds,
        epochs=EPOCHS,
        seed=SEED,
        refit=True,
        run_dir=run,
        distribute=distribute,
        verbose=0,
    )


def main() -> None:
    _, last, run, *file = sys.argv
    callbacks.SAVE_EVERY_S = 0

    class Killed(callbacks.FollowEpoch):
        """Dies in the middle of a training."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            if epoch == int(last):
                os.kill(os.getpid(), signal.SIGKILL)
            super().on_epoch_begin(epoch, logs)

    fitting.FollowEpoch = Killed  # type: ignore[misc]
    if file:
        join_machines()
        train_here(Path(run), Path(*file), "auto")
    else:
        sys.argv = ["ceneurovae", "train", "--resume", run, "--distribute", "auto"]
        cli.main()


if __name__ == "__main__":
    main()
