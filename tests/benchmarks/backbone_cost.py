"""Cost of each backbone: milliseconds per training step against the length and width of windows.

    KERAS_BACKEND=jax python tests/benchmarks/backbone_cost.py
    KERAS_BACKEND=torch python tests/benchmarks/backbone_cost.py --backbones conv gru --limit 30

Prints two tables, for the current backend: against the length `T` of a window of 3 channels, and
against the number `C` of channels of a window of 100 samples. A step is one batch of 32 windows in
`fit`, with 64 hidden units; an entry is the median over epochs after the first, which compiles.
Each entry is measured in a process of its own and has `--limit` seconds for everything, imports and
compilation included. Where that or the memory is not enough it prints `-`, and takes the larger
ones of the same backbone to be no cheaper.
"""

import argparse
import statistics
import subprocess
import sys
import time

BATCH_SIZE, HIDDEN_DIM = 32, 64
LENGTHS, CHANNELS = (100, 200, 400, 800, 1600, 3200), (3, 10, 30, 100, 300)
STEPS, EPOCHS, LEAST_EPOCHS = 4, 15, 3  # steps in an epoch, and epochs that are measured


def step_time(backbone, seq_len, channels, patience):
    """Milliseconds per step; measures for at most about `patience` seconds, once compiled."""
    import keras
    import numpy as np

    from ceneurovae import NeuroBehaviorVAE, VAEConfig
    from ceneurovae.recipe import jit_choice

    class Clock(keras.callbacks.Callback):
        """Times of the epochs in seconds; stops training when there are enough."""

        def on_train_begin(self, logs=None):
            self.times = []

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.times.append(time.perf_counter() - self.start)
            measured = self.times[1:]
            enough = len(measured) >= LEAST_EPOCHS and sum(measured) > patience
            self.model.stop_training = enough or len(measured) == EPOCHS

    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * BATCH_SIZE, seq_len, channels)).astype("float32")
    x[rng.random(x.shape) < 0.05] = np.nan
    config = VAEConfig(seq_len=seq_len, channels=channels, hidden_dim=HIDDEN_DIM, backbone=backbone)
    model = NeuroBehaviorVAE(config)
    model.adapt(x)
    jit = jit_choice(config, BATCH_SIZE)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit)
    clock = Clock()
    model.fit(x, batch_size=BATCH_SIZE, epochs=1 + EPOCHS, verbose=0, callbacks=[clock])
    return 1000 * statistics.median(clock.times[1:]) / STEPS


def limited_step_time(backbone, seq_len, channels, limit):
    """`step_time` in a process of its own, or `None` where time or memory is not enough."""
    cell = [backbone, str(seq_len), str(channels), str(limit / 4)]
    try:
        process = subprocess.run(
            [sys.executable, __file__, "--cell", *cell],
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return None
    if process.returncode < 0:  # killed, for want of memory
        return None
    if process.returncode:
        raise RuntimeError(f"{' '.join(cell)} failed:\n{process.stderr}")
    return float(process.stdout.split()[-1])


def print_table(title, values, backbones, limit, shape):
    """One row per backbone, one column per value; `shape(value)` is `(T, C)`."""
    print(f"{title:<18}" + "".join(f"{value:>9}" for value in values), flush=True)
    for backbone in backbones:
        print(f"{backbone:<18}", end="", flush=True)
        fits = True
        for value in values:
            measured = limited_step_time(backbone, *shape(value), limit) if fits else None
            fits = measured is not None
            print(f"{measured:>9.1f}" if fits else f"{'-':>9}", end="", flush=True)
        print(flush=True)


def main():
    from ceneurovae.config import BACKBONES

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--lengths", nargs="*", type=int, default=LENGTHS)
    parser.add_argument("--channels", nargs="*", type=int, default=CHANNELS)
    parser.add_argument("--limit", type=float, default=60, help="seconds for each entry")
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        backbone, seq_len, channels, patience = arguments.cell
        print(step_time(backbone, int(seq_len), int(channels), float(patience)))
        return
    print("milliseconds per step")
    table = arguments.backbones, arguments.limit
    print_table("T at C=3", arguments.lengths, *table, lambda steps: (steps, 3))
    print_table("C at T=100", arguments.channels, *table, lambda channels: (100, channels))


if __name__ == "__main__":
    main()
