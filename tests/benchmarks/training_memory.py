"""Memory of a training: its peak, and whether it grows.

    export CENEUROVAE_TEST_DATA=FOLDER
    KERAS_BACKEND=jax python tests/benchmarks/training_memory.py

Trains with default settings but for 200 epochs, into a run folder, on three behaviours of seven
worms, and prints the resident memory of the process after epochs, how much it grew after the fifth,
and its peak, imports and all that follows the fit included. Threads share one arena of memory, as
they do on the command line. It reads `/proc`, so it needs Linux.
"""

import argparse
import json
import os
import resource
import tempfile
from pathlib import Path

import keras
from quality_data import named

from ceneurovae import NeuroBehaviorVAE, VAEConfig, train
from ceneurovae.arenas import share_one_arena
from ceneurovae.pipeline import stream
from ceneurovae.recipe import BATCH_SIZE

MIB = 2**20
SETTLED = 5  # epochs, after which memory should not grow


class Memory(keras.callbacks.Callback):
    """Resident memory after each epoch, in MiB."""

    def __init__(self):
        super().__init__()
        self.resident = []

    def on_epoch_end(self, epoch, logs=None):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--json", type=Path, help="file to write all to")
    arguments = parser.parse_args()
    if arguments.epochs <= SETTLED:
        parser.error(f"--epochs must be more than {SETTLED}.")
    share_one_arena()
    [data] = named(["behavior"])
    splits = data.splits(0)
    if splits is None:
        parser.error("CENEUROVAE_TEST_DATA does not name a folder with recordings of worms.")
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(VAEConfig(seq_len=splits.train.seq_len))
    train_ds, valid_ds, _ = stream(splits, BATCH_SIZE)
    memory = Memory()
    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            train_ds,
            valid_ds,
            epochs=arguments.epochs,
            seed=0,
            run_dir=Path(folder) / "run",
            callbacks=[memory],
            verbose=0,
        )
    resident = memory.resident
    for epoch in sorted({1, SETTLED, *range(25, arguments.epochs, 25), arguments.epochs}):
        if epoch <= arguments.epochs:
            print(f"epoch {epoch:>4}  {resident[epoch - 1]:>7.0f} MiB")
    settled = resident[SETTLED - 1]
    growth = {
        "at the end": 100 * (resident[-1] / settled - 1),
        "at most": 100 * (max(resident[SETTLED:]) / settled - 1),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shown = ", ".join(f"{value:.2f} % {when}" for when, value in growth.items())
    print(f"growth after epoch {SETTLED}: {shown}")
    print(f"peak of the process: {peak:.0f} MiB, backend {keras.backend.backend()}")
    if arguments.json:
        report = {"resident_mib": resident, "growth_percent": growth, "peak_mib": peak}
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
