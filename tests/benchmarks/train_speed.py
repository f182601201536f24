"""Training speed: `train` of this package beside hand-written loops of the same network.

    KERAS_BACKEND=jax python tests/benchmarks/train_speed.py --json speed.json
    KERAS_BACKEND=tensorflow python tests/benchmarks/train_speed.py --backbones conv --bare

Prints windows per second of the fit in `train`, with its callbacks, a run folder and the progress
of the command line, on the current backend; of a hand-written loop on that backend (pure JAX under
`jit`, a `tf.function` around Keras layers without and with XLA, plain PyTorch), of which the better
one counts; and of plain PyTorch, which is what most people would write. See `hand_written` for what
the loops do. They get their batches for nothing; `train` has to stream them.

They take turns, one epoch each, between the epochs of one training, so that a computer that slows
down slows all of them, and the ratios are medians over turns. An epoch of `train` is all from the
end of the loops to their next turn, what other callbacks do between epochs included. A checkpoint
is written every 20 s whatever the epochs are: its time is taken out of the epoch it falls into, and
every epoch pays its share of one. `masks` says whether 5 % of the entries are missing. Memory is
what the command line has, for all of them: one arena, and what a step frees is kept for the next.

`--bare` adds a plain `fit` of the same model without any callback of `train`, and what the
callbacks cost: per step, in an epoch of so many steps and with the share of the checkpoints, and as
a share of the step; then per epoch, what of it happens between the last step and the next, and the
seconds that writing a checkpoint takes. `--from-device` adds a plain fit on batches that are ready
where the computation is (under TensorFlow, in memory, and copied to the device ahead), and how much
longer a step on streamed data takes.
"""

import argparse
import io
import json
import math
import os
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

# Several frameworks share an accelerator: none may take all of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import keras
import numpy as np
from hand_written import LEARNING_RATE, make_loops
from rich.console import Console

from ceneurovae import NeuroBehaviorVAE, VAEConfig, console, split_datasets, train
from ceneurovae.arenas import share_one_arena
from ceneurovae.callbacks import SAVE_EVERY_S, Checkpoints
from ceneurovae.pipeline import make_dataset
from ceneurovae.progress import FitProgress
from ceneurovae.recipe import jit_choice, make_optimizer

BACKBONES = ("mlp", "conv", "gru", "transformer")
SEQ_LEN, CHANNELS, LATENTS = 100, 3, 32
MISSING = 0.05
WARM_UP = 2  # epochs that are not counted
LEAST_STEPS, MOST_STEPS = 4, 64


class EnoughError(Exception):
    """Leaves `train` once all turns are measured."""


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch: in it, and between it and the epoch before."""

    def __init__(self):
        super().__init__()
        self.within, self.between = [], []
        self.resumed = math.nan

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # Waits for the last step.
        keras.ops.convert_to_numpy(self.model.trainable_variables[-1])
        self.within.append(time.perf_counter() - self.begun)
        self.between.append(self.begun - self.resumed)
        self.hand_over(epoch)
        self.resumed = time.perf_counter()

    def hand_over(self, epoch):
        """What happens between two epochs and is not counted."""


class TakeTurns(Clock):
    """Lets others work for an epoch each, between the epochs of a fit.

    Args:
        others: Functions that work for an epoch, and give the seconds that took, by name.
        turns: How many to measure, after the warm-up.
    """

    def __init__(self, others, turns):
        super().__init__()
        self.others, self.turns = others, turns
        self.seconds = {name: [] for name in others}
        self.written = []  # seconds of writing a checkpoint

    def hand_over(self, epoch):
        for name, work in self.others.items():
            self.seconds[name].append(work())
        if epoch + 1 == WARM_UP + self.turns:
            raise EnoughError

    def checkpoints(self, state, write):
        """`Checkpoints` that write in each epoch of the warm-up too, outside the clock."""

        def timed():
            start = time.perf_counter()
            write()
            self.written.append(time.perf_counter() - start)
            self.resumed += self.written[-1]

        class TimedCheckpoints(Checkpoints):
            def on_epoch_end(self, epoch, logs=None):
                if epoch < WARM_UP:
                    self.written_at = -math.inf
                super().on_epoch_end(epoch, logs)

        return TimedCheckpoints(state, timed)

    def measured(self):
        """Seconds of each turn by name, `train` and those between its epochs among them."""
        within, between = (np.array(part[WARM_UP:]) for part in (self.within, self.between))
        share = self.written[-1] / SAVE_EVERY_S
        return {
            "train": list((within + between) * (1 + share)),
            "between": list(between),
            "checkpoint": self.written[WARM_UP - 1 :],
            **{name: seconds[WARM_UP:] for name, seconds in self.seconds.items()},
        }


def timed(work):
    """`work`, as a function that gives the seconds that took."""

    def run():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def bare_fit(model, data):
    """A function that fits for an epoch, without callbacks, and the clock that times it.

    Of two epochs it takes the second, so that what a call of `fit` costs is not counted.
    """
    clock = Clock()

    def run():
        model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[clock])
        return clock.within[-1] + clock.between[-1]

    return run, clock


def on_device(batches):
    """Batches as what `fit` takes without copying them."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        device = keras.ops.zeros(1).device
        tensors = [torch.tensor(batch, device=device) for batch in batches]
        return torch.utils.data.DataLoader(tensors, batch_size=None)
    if backend == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(np.stack(batches))
        if tf.config.list_physical_devices("GPU"):
            data = data.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))
        return data
    return DeviceBatches(batches)


class DeviceBatches(keras.utils.PyDataset):
    """Tensors of the backend, one batch after another."""

    def __init__(self, batches):
        super().__init__()
        self.tensors = [keras.ops.convert_to_tensor(batch) for batch in batches]

    def __len__(self):
        return len(self.tensors)

    def __getitem__(self, index):
        return (self.tensors[index],)


def compiled(config, data, steps, batch_size):
    """A model as `train` has it when it calls `fit`."""
    model = NeuroBehaviorVAE(config)
    model.adapt(data)
    jit = jit_choice(config, batch_size)
    model.compile(optimizer=make_optimizer(LEARNING_RATE, steps), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    return model


def make_batches(batch_size, steps, masks):
    """List of float32 arrays `(B, T, C)`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps, batch_size, SEQ_LEN, CHANNELS)).astype("float32")
    if masks:
        x[rng.random(x.shape) < MISSING] = np.nan
    return list(x)


def steps_in(seconds, config, batch_size):
    """Steps of an epoch that takes about so long, by a hand-written loop."""
    batches = make_batches(batch_size, 2, masks=True)
    [epoch] = make_loops("torch", config, batches, 100)[0].values()
    epoch()
    step = timed(epoch)() / len(batches)
    return int(np.clip(seconds / step, LEAST_STEPS, MOST_STEPS))


def measure(config, batch_size, masks, arguments):
    """Steps of an epoch, and what `TakeTurns` measured."""
    steps = arguments.steps or steps_in(arguments.seconds, config, batch_size)
    batches = make_batches(batch_size, steps, masks)
    epochs = WARM_UP + arguments.turns
    windows = split_datasets(np.concatenate(batches), SEQ_LEN, valid_fraction=0).train
    model = NeuroBehaviorVAE(config)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    others = {}
    for framework in dict.fromkeys([keras.backend.backend(), "torch"]):
        loops, own_count = make_loops(framework, config, batches, epochs * steps)
        if count != own_count:
            raise RuntimeError(f"{framework} has {own_count} weights, not {count}.")
        others |= {name: timed(loop) for name, loop in loops.items()}
    clocks = {}
    kinds = {"bare": arguments.bare or arguments.from_device, "device": arguments.from_device}
    for name in (name for name, wanted in kinds.items() if wanted):
        data = make_dataset(windows, batch_size, shuffle=True)
        own = compiled(config, data, 2 * epochs * steps, batch_size)
        data = on_device(batches) if name == "device" else data
        others[name], clocks[name] = bare_fit(own, data)
    turns = TakeTurns(others, arguments.turns)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("ceneurovae.console.messages", Console(file=io.StringIO())),
        mock.patch("ceneurovae.course.Checkpoints", turns.checkpoints),
        console.progress_bar() as progress,
        suppress(EnoughError),
    ):
        train(
            model,
            make_dataset(windows, batch_size, shuffle=True),
            epochs=epochs,
            batch_size=batch_size,
            seed=0,
            run_dir=Path(folder) / "run",
            callbacks=[FitProgress(progress, batch_size), turns],
            verbose=0,
        )
    measured = turns.measured()
    if "bare" in clocks:
        measured["bare between"] = clocks["bare"].between[2 * WARM_UP + 1 :: 2]
    return steps, measured


def ratio(above, below):
    """Median over turns of how many times as long `above` took."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def summary(batch_size, steps, seconds):
    """Windows per second by name, and ratios: above 1 where `train` is faster."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    backend = keras.backend.backend()
    own = min((name for name in seconds if name.split()[0] == backend), key=median.get)
    found = {
        name: steps * batch_size / median[name]
        for name in seconds
        if name not in ("between", "bare between", "checkpoint")
    }
    found["train/own"] = ratio(seconds[own], seconds["train"])
    found["train/PyTorch"] = ratio(seconds["torch"], seconds["train"])
    if "bare" in seconds:
        over = statistics.median(
            a - b for a, b in zip(seconds["train"], seconds["bare"], strict=True)
        )
        found["step ms"] = 1e3 * median["train"] / steps
        found["callbacks us/step"] = 1e6 * over / steps
        found["callbacks %"] = 100 * (ratio(seconds["train"], seconds["bare"]) - 1)
        found["ms/epoch"] = 1e3 * (median["between"] - median["bare between"])
        found["checkpoint s"] = median["checkpoint"]
    if "device" in seconds:
        found["stream %"] = 100 * (ratio(seconds["bare"], seconds["device"]) - 1)
    return found


def show(settings, steps, found, head):
    """One line of the table, and the line above it if it is the first."""
    fields = {**settings, "steps": steps, **found}
    widths = {name: max(len(name), 11 if name == "backbone" else 5) for name in fields}
    if head:
        print("  ".join(f"{name:>{widths[name]}}" for name in fields))
    shown = []
    for name, value in fields.items():
        if isinstance(value, float):
            digits = 2 if "/own" in name or "/PyTorch" in name or name == "checkpoint s" else 1
            value = f"{value:.{0 if value >= 1000 else digits}f}"
        shown.append(f"{value!s:>{widths[name]}}")
    print("  ".join(shown), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--hidden-dims", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--masks", nargs="+", default=["yes", "no"], choices=["yes", "no"])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2, help="of an epoch, about")
    parser.add_argument("--steps", type=int, help="of an epoch, instead of --seconds")
    parser.add_argument("--bare", action="store_true", help="what the callbacks cost")
    parser.add_argument("--from-device", action="store_true", help="what the stream costs")
    parser.add_argument("--json", type=Path, help="file to write all to")
    arguments = parser.parse_args()
    share_one_arena()
    backend, device = keras.backend.backend(), keras.ops.zeros(1).device
    print(f"windows per second; backend {backend} on {device}")
    lines = []
    for backbone in arguments.backbones:
        for hidden_dim in arguments.hidden_dims:
            config = VAEConfig(
                seq_len=SEQ_LEN,
                channels=CHANNELS,
                latent_dim=LATENTS,
                hidden_dim=hidden_dim,
                backbone=backbone,
                reconstruction_loss="mse",
                augment=False,
            )
            for batch_size in arguments.batch_sizes:
                for masks in arguments.masks:
                    keras.utils.clear_session()
                    steps, seconds = measure(config, batch_size, masks == "yes", arguments)
                    found = summary(batch_size, steps, seconds)
                    settings = {"backbone": backbone, "H": hidden_dim, "B": batch_size}
                    settings["masks"] = masks
                    show(settings, steps, found, head=not lines)
                    lines.append({**settings, "steps": steps, **found, "seconds": seconds})
                    if arguments.json:
                        report = {"backend": backend, "device": str(device), "lines": lines}
                        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
