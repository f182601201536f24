"""Most memory of a search in each of its trials, all of its processes together (Linux only).

    KERAS_BACKEND=tensorflow python tests/benchmarks/tuning_memory.py --trials 30

Every trial has other shapes, so that each is compiled. After trial 3 memory may grow by 10 %.
"""

import argparse
import os
import resource
import tempfile
from pathlib import Path

import numpy as np

from ceneurovae import VAEConfig, tune


def memory(pid):
    """MB that a process and its children hold."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    return pages * resource.getpagesize() / 1e6 + sum(map(memory, children))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--shared", action="store_true", help="run the trials in this process")
    arguments = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(100, 12, 3)).astype("float32")
    measured = {}

    def note(trials):
        if trials:
            last = trials[-1].number
            measured[last] = max(measured.get(last, 0.0), memory(os.getpid()))

    with tempfile.TemporaryDirectory() as folder:
        tune(
            x,
            x[:40],
            folder,
            VAEConfig(seq_len=12, channels=3, num_layers=1, encoder_steps=0, augment=False),
            {"hidden_dim": (8, 200), "latent_dim": (1, 8)},
            tuner="random",
            max_trials=arguments.trials,
            epochs=2,
            refit=False,
            isolate=not arguments.shared,
            report=note,
        )
    print(" ".join(f"{value:.0f}" for value in measured.values()), "MB in trials 1, 2, ...")
    third = measured.get(3, measured[1])
    later = [value / third - 1 for number, value in measured.items() if number > 3]
    if later:
        print(f"after trial 3: {max(later):+.1%} at most, {later[-1]:+.1%} in the last one")


if __name__ == "__main__":
    main()
