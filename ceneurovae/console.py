"""What the command line shows: the backend it picks, progress, tables. Messages go to stderr."""

import importlib.util
import os
import sys
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

# Fastest first, as measured by tests/benchmarks/train_speed.py on CPUs.
BACKENDS = ("jax", "tensorflow", "torch")

messages = Console(stderr=True, highlight=False)


def say(text):
    """One line to stderr."""
    messages.print(text, markup=False, soft_wrap=True)


def choose_backend(requested=None):
    """Sets `KERAS_BACKEND` to what was requested, else leaves it, else picks the fastest.

    Raises:
        ValueError: if the backend is unknown or not installed.
    """
    backend = requested or os.environ.get("KERAS_BACKEND")
    if backend is None:
        backend = next(name for name in BACKENDS if importlib.util.find_spec(name))
        say(f"Backend: {backend} (the fastest that is installed; --backend overrides).")
    elif backend not in BACKENDS:
        raise ValueError(f"The backend is '{backend}', expected one of {', '.join(BACKENDS)}.")
    elif not importlib.util.find_spec(backend):
        raise ValueError(
            f"The backend {backend} is not installed: pip install 'ceneurovae[{backend}]'."
        )
    os.environ["KERAS_BACKEND"] = backend


@contextmanager
def progress_bar():
    """A `rich` progress bar on stderr with columns for a count, a time and a text."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=messages) as progress:
        yield progress


def import_keras(progress):
    """Imports TensorFlow and Keras, which takes seconds, without their start-up messages."""
    task = progress.add_task("Loading Keras", total=None, note="")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        import ceneurovae.model  # noqa: F401

        tf.zeros(())  # looks for devices, which is when the last messages come
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    progress.remove_task(task)


def fit_progress(progress, epochs):
    """A Keras callback that moves a task of `progress` forward, batch by batch.

    When training ends, it announces the evaluation that follows on the command line.
    """
    import keras

    class FitProgress(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.task = progress.add_task("Training", total=epochs, note="")

        def on_train_batch_end(self, batch, logs=None):
            # Reading the loss here would make the accelerator wait.
            progress.update(self.task, completed=self.epoch + batch / self.params["steps"])

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_epoch_end(self, epoch, logs=None):
            note = f"loss {logs['loss']:.4g}"
            if "val_elbo" in logs:
                note += f"  validation ELBO {logs['val_elbo']:.4g}"
            progress.update(self.task, completed=epoch + 1, note=note)

        def on_train_end(self, logs=None):
            progress.add_task("Evaluating", total=None, note="")

    return FitProgress()


def results_table(metrics):
    """A `rich` table of what `evaluate` found."""
    table = Table(title=f"Held-out {metrics['split']} data, {metrics['windows']} windows")
    table.add_column("")
    names = {"vae": "VAE", "pca": "PCA"}
    shown = [name for name in names if name in metrics]
    for name in shown:
        table.add_column(names[name], justify="right")
    for key, label in (("r2", "R2 of the reconstruction"), ("skill", "skill over the mean")):
        table.add_row(label, *(_number(metrics[name][key]) for name in shown))
    for readout, targets in metrics["vae"].get("latents_r2", {}).items():
        for target in targets:
            scores = (_number(metrics[name]["latents_r2"][readout][target]) for name in shown)
            table.add_row(f"R2 of true {target}, {readout} readout", *scores)
    table.add_row("ELBO per window", _number(metrics["elbo"], 1))
    table.add_row("KL per window (nats)", _number(metrics["kl"], 1))
    table.add_row("active latents", str(metrics["active_latents"]))
    return table


def inspection_table(recording):
    """A `rich` table of one recording that `inspect_file` described."""
    rate = recording["rate_hz"]
    title = f"{recording['name']}: " + ("rate unknown" if rate is None else f"{rate:.4g} Hz")
    if recording["interruptions"]:
        title += f", {recording['interruptions']} interruptions"
    table = Table(title=title, title_justify="left")
    table.add_column("channels", overflow="fold")  # whole names, to be copied
    for name in ("count", "shape", "duration (s)", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for block in recording["blocks"]:
        missing = [channel["missing"] for channel in block["channels"]]
        names = [channel["name"] for channel in block["channels"]]
        own = names == [block["name"]] or all(n.split("/")[-1].isdigit() for n in names)
        label = block["name"] if own else f"{block['name']}: {_shortened(names)}"
        low, high = f"{min(missing):.1%}", f"{max(missing):.1%}"
        table.add_row(
            label,
            str(len(missing)),
            str(tuple(block["shape"])),
            _number(block["duration_s"], 1),
            low if low == high else f"{low} to {high}",
        )
    return table


def _shortened(names):
    columns = [name.split("/")[-1] for name in names]
    return ", ".join(columns if len(columns) < 7 else [*columns[:3], "...", columns[-1]])


def _number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"
