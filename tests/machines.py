"""One of the processes of a training, which may be told to kill itself.

    KERAS_BACKEND=jax python tests/machines.py EPOCH RUN [worms.h5]

Trains on the file, or goes on with the run as the command line does. It is killed with SIGKILL when
it begins EPOCH, from 0; -1 for never. A checkpoint is written after each epoch.
"""

import os
import signal
import sys
from typing import Any

from ceneurovae import VAEConfig, callbacks, cli, training
from ceneurovae.import_data import load_splits

EPOCHS, BATCH_SIZE = 10, 64


def main() -> None:
    _, last, run, *file = sys.argv
    callbacks.SAVE_EVERY_S = 0

    class Killed(callbacks.FollowEpoch):
        """Dies in the middle of a training."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            if epoch == int(last):
                os.kill(os.getpid(), signal.SIGKILL)
            super().on_epoch_begin(epoch, logs)

    training.FollowEpoch = Killed  # type: ignore[misc]
    if not file:
        sys.argv = ["ceneurovae", "train", "--resume", run, "--distribute", "auto"]
        cli.main()
        return
    splits = load_splits(*file, ["behavior"], seq_len=12, test_fraction=0.1, stride=2)
    # Dropout and draws are random, and the same for all.
    config = VAEConfig(latent_dim=2, hidden_dim=8, encoder_steps=0, dropout=0.2)
    training.train_run(
        splits,
        config,
        run,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        seed=3,
        refit=True,
        distribute="auto" if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ else None,
        verbose=0,
    )


if __name__ == "__main__":
    main()
