"""What the command line shows: the backend it picks, progress, tables. Messages go to stderr."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ceneurovae.evaluation_table import number

if TYPE_CHECKING:
    from rich.progress import Progress

    from ceneurovae.hints import JSON

# Fastest first, as measured by tests/benchmarks/train_speed.py on CPUs.
BACKENDS = ("jax", "tensorflow", "torch")

# More recordings than this that differ in length only share a table.
ONE_BY_ONE = 4
# Blocks with at most so many channels show what is missing in each.
FEW_CHANNELS = 8
# Warnings of one kind about one recording that are printed in full.
SHOWN_PER_CODE = 2

messages = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line to stderr."""
    messages.print(text, markup=False, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def choose_backend(requested: str | None = None, environment: dict[str, str] | None = None) -> None:
    """Sets `KERAS_BACKEND` to what was requested, else leaves it, else picks the fastest.

    Args:
        requested: Its name.
        environment: Further environment variables, for those that are not set.

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
    for name, value in (environment or {}).items():
        os.environ.setdefault(name, value)
    # What JAX has compiled once it need not compile again: half of the time of a short training.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ceneurovae" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@contextmanager
def progress_bar(quiet: bool = False) -> "Iterator[Progress]":
    """A `rich` progress bar on stderr with columns for a count, a time and a text.

    It is disabled where there is no terminal; nothing is said at all while it is `quiet`.
    """
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
    before, messages.quiet = messages.quiet, quiet
    try:
        disable = quiet or not messages.is_terminal
        progress = Progress(*columns, console=messages, disable=disable)
        # One that is disabled would end with an empty line, in older releases of rich.
        with nullcontext() if disable else progress:
            yield progress
    finally:
        messages.quiet = before


def tracker(progress: "Progress") -> Callable[..., Iterator[Any]]:
    """What `tracking.showing` takes: a bar of `progress_bar` for each piece of work."""

    def track(items: Iterable[Any], total: int | None, title: str) -> Iterator[Any]:
        task = progress.add_task(title, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)
        progress.remove_task(task)

    return track


def import_keras(progress: "Progress") -> None:
    """Imports TensorFlow and Keras, which takes seconds, without their start-up messages."""
    from ceneurovae.arenas import share_one_arena

    share_one_arena()
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
        tf.get_logger().setLevel("ERROR")  # it counts the models that were traced
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    progress.remove_task(task)


def runs_table(runs: "Sequence[JSON]") -> Table:
    """A `rich` table of what `compare_runs` found, one line per run."""
    table = Table(title=counted(len(runs), "run"))
    table.add_column("run", overflow="fold")  # whole names, to be copied
    table.add_column("model")
    for name in ("epochs", "ELBO, valid", "R2", "R2, refined", "R2, PCA"):
        table.add_column(name, justify="right")
    if any(run.get("seen_in_training") for run in runs):
        table.caption = "*: R2 of validation windows that were trained on, for want of test data"
    for run in runs:
        r2 = run.get("r2", {})
        own = {n: " *" for n in ("encoder", "refined") if n in r2 and run.get("seen_in_training")}
        table.add_row(
            run["path"],
            f"{run['backbone']}, {run['latent_dim']} latents",
            f"{run['epochs']}" + ("" if run["finished"] else ", unfinished"),
            number(run["valid_elbo"], 1),
            *(number(r2.get(n)) + own.get(n, "") for n in ("encoder", "refined", "pca")),
        )
    return table


def show_inspection(report: "JSON") -> None:
    """Prints what `ceneurovae inspect` found: files, and runs whose splits were verified.

    Args:
        report: Dictionary with `files`, a list of what `inspect_file` gives, `suggestion` and
            `evaluation`, commands for all of them, and perhaps `runs`, a list of what `verify_run`
            gives.
    """
    screen = Console(highlight=False)
    for file in report["files"]:
        _show_file(file, screen)
    if len(report["files"]) > 1:
        _show_suggestion(report, "All together", screen)
    for run in report.get("runs", ()):
        _show_run(run, screen)


def _show_file(file: "JSON", screen: Console) -> None:
    count = counted(len(file["recordings"]), "recording")
    head = f"{file['path']}: layout {file['layout']}, {count}"
    _print_line(screen, head)
    for alike in _alike(file["recordings"]):
        screen.print(inspection_table(*alike))
        for line in warning_lines(alike):
            _print_line(screen, line)
    for name, blocks in file["short_names"].items():
        _print_line(screen, f"'{name}' is short for {', '.join(blocks)}")
    _show_suggestion(file, "To train", screen)


def _show_suggestion(report: "JSON", title: str, screen: Console) -> None:
    if report["suggestion"] is None:
        _print_line(screen, f"{title}: no command can be suggested; see the warnings.")
        return
    _print_line(screen, f"{title}:\n  {report['suggestion']}")
    if report["evaluation"] is not None:
        _print_line(screen, f"Then, to see what it learned:\n  {report['evaluation']}")


def _show_run(run: "JSON", screen: Console) -> None:
    _print_line(screen, f"{run['path']}: run")
    for part in ("train", "valid", "test"):
        told = run[part]
        _print_line(
            screen,
            f"  {part}: {told['windows']} windows, {told['samples']} samples of "
            f"{counted(len(told['recordings']), 'recording')}",
        )
    from ceneurovae.verification import leak_in

    if leak_in(run) is None:
        known = run["repeated_windows"] is not None
        _print_line(
            screen,
            "  counted again: no sample is in two splits, no window crosses an interruption"
            + (", no values of training data come again" if known else ""),
        )


def _print_line(screen: Console, text: str) -> None:
    screen.print(text, markup=False, soft_wrap=True)


def _alike(recordings: "Sequence[JSON]") -> "list[list[JSON]]":
    """The recordings in lists of those that fit into one table: all that differ in length only."""
    kinds: dict[Any, list[JSON]] = {}
    for recording in recordings:
        names = tuple(
            (block["name"], tuple(block["shape"][1:]), len(block["channels"]))
            for block in recording["blocks"]
        )
        kinds.setdefault((recording["rate_hz"], names), []).append(recording)
    together = []
    for kind in kinds.values():
        together += [kind] if len(kind) > ONE_BY_ONE else [[recording] for recording in kind]
    return together


def warning_lines(recordings: "Sequence[JSON]") -> list[str]:
    """The warnings of recordings as lines `code: message`, the same of several as one."""
    found: dict[str, list[tuple[str, JSON]]] = {}
    for recording in recordings:
        for warning in recording["warnings"]:
            found.setdefault(warning["code"], []).append((recording["name"], warning))
    lines = []
    for code, warnings in found.items():
        shown = warnings[:1] if len(recordings) > 1 else warnings[:SHOWN_PER_CODE]
        for name, warning in shown:
            where = f"{name}: " if len(recordings) > 1 else ""
            lines.append(f"{code}: {where}{warning['message']}")
        if len(warnings) > len(shown):
            rest = [name if len(recordings) > 1 else w["block"] for name, w in warnings]
            names = list(dict.fromkeys(str(name) for name in rest[len(shown) :]))
            lines.append(
                f"{code}: also in {', '.join(names[:5])}{' ...' if len(names) > 5 else ''} "
                "(--json lists all)."
            )
    return lines


def inspection_table(*recordings: "JSON") -> Table:
    """A `rich` table of recordings that `inspect_file` described, which differ in length only."""
    first = recordings[0]
    title = first["name"]
    if len(recordings) > 1:
        title += f" to {recordings[-1]['name']}, {len(recordings)} recordings"
    rates = {block["rate_hz"] for block in first["blocks"]}
    rate = rates.pop() if len(rates) == 1 else first["rate_hz"]
    title += ": " + ("rate unknown" if rate is None else f"{rate:.4g} Hz")
    interruptions = [recording["interruptions"] for recording in recordings]
    if max(interruptions):
        title += f", {_range(interruptions, str)} interruptions"
    if first["labels"]:
        title += f", labels {', '.join(label['name'] for label in first['labels'])}"
    table = Table(title=title, title_justify="left")
    table.add_column("channels", overflow="fold")  # whole names, to be copied
    for name in ("count", "shape", "duration (s)", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for blocks in zip(*(recording["blocks"] for recording in recordings), strict=True):
        _add_block(table, blocks)
    return table


def _add_block(table: Table, blocks: "Sequence[JSON]") -> None:
    """Rows of one block of alike recordings: all channels, and each if few differ."""
    names = [channel["name"] for channel in blocks[0]["channels"]]
    shares = [
        [block["channels"][index]["missing"] for block in blocks] for index in range(len(names))
    ]
    own = names == [blocks[0]["name"]] or all(n.split("/")[-1].isdigit() for n in names)
    label = blocks[0]["name"] if own else f"{blocks[0]['name']}: {_shortened(names)}"
    lengths = _range([block["shape"][0] for block in blocks], str)
    durations = [block["duration_s"] for block in blocks]
    every = [share for part in shares for share in part]
    table.add_row(
        label,
        str(len(names)),
        f"({lengths}, {', '.join(map(str, blocks[0]['shape'][1:]))})".replace(", )", ",)"),
        "-" if None in durations else _range(durations, _number_1),
        _range(every, _percent),
    )
    if 1 < len(names) <= FEW_CHANNELS and len({_percent(max(part)) for part in shares}) > 1:
        for name, part in zip(names, shares, strict=True):
            table.add_row(f"  {name}", "", "", "", _range(part, _percent))


def _range(values: Sequence[Any], shown: Callable[[Any], str]) -> str:
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f"{low} to {high}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _number_1(value: float) -> str:
    return f"{value:.1f}"


def _shortened(names: Sequence[str]) -> str:
    """The names of some channels, without what stands before the last parts that tell them apart.

    >>> _shortened(["pose/nose/x", "pose/nose/y", "pose/tail/x", "pose/tail/y"])
    'nose/x, nose/y, tail/x, tail/y'
    """
    paths = [name.split("/") for name in names]
    parts = 1
    while len({tuple(path[-parts:]) for path in paths}) < len(set(names)):
        parts += 1
    columns = ["/".join(path[-parts:]) for path in paths]
    return ", ".join(columns if len(columns) < 7 else [*columns[:3], "...", columns[-1]])
