"""What a search is doing: a live table of its trials, or lines without a terminal."""

from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from ceneurovae.console import messages, say

# Trials that are shown; older ones are in `trials.csv`.
SHOWN = 15


def trials_table(trials, objective="elbo"):
    """A `rich` table of the last trials of a search, and of the best one.

    Args:
        trials: List of `Trial`.
        objective: `"elbo"` or `"r2"`.
    """
    best = best_of(trials)
    shown = trials[-SHOWN:]
    if best is not None and best not in shown:
        shown = [best, *shown]
    score = {"elbo": "ELBO", "r2": "R2"}[objective]
    title = "" if best is None else f", best {score} so far: {best.score:.4g} of {best.number}"
    table = Table(title=f"{len(trials)} trials{title}", title_justify="left")
    table.add_column("trial", justify="right")
    varying = varying_names(trials)
    for name in varying:
        table.add_column(name, justify="right")
    for name in ("epochs", score):
        table.add_column(name, justify="right")
    table.add_column("status")
    for trial in shown:
        table.add_row(
            str(trial.number),
            *(shown_value(trial.hyperparameters.get(name)) for name in varying),
            "" if trial.epochs is None else str(trial.epochs),
            "" if trial.score is None else f"{trial.score:.4g}",
            trial.status if trial.message is None else f"{trial.status}: {trial.message[:60]}",
            style="bold" if trial is best else None,
        )
    return table


def trial_line(trial, best):
    """A trial that has ended, as text."""
    values = ", ".join(f"{name} {shown_value(v)}" for name, v in trial.hyperparameters.items())
    if trial.status == "failed":
        told = f"failed: {trial.message}"
    else:
        told = f"{trial.epochs} epochs, score {trial.score:.4g}, best {best.score:.4g}"
    return f"Trial {trial.number}: {values}: {told}"


def best_of(trials):
    """The trial with the highest score, `None` before there is one."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score, default=None)


def varying_names(trials):
    """Names of the hyperparameters in which trials differ."""
    names = dict.fromkeys(name for trial in trials for name in trial.hyperparameters)
    return [
        name
        for name in names
        if len({str(trial.hyperparameters.get(name)) for trial in trials}) > 1
    ]


@contextmanager
def showing_trials(objective, quiet=False):
    """A context with a function of the trials that shows them, for `tune(report=)`."""
    if quiet:
        yield lambda trials: None
    elif messages.is_terminal:
        with Live(console=messages, refresh_per_second=4) as live:
            yield lambda trials: live.update(trials_table(list(trials), objective))
    else:
        said = set()

        def say_new(trials):
            for trial in trials:
                if trial.status in ("completed", "failed") and trial.number not in said:
                    said.add(trial.number)
                    say(trial_line(trial, best_of(trials)))

        yield say_new


def shown_value(value):
    """A hyperparameter, or another value, as it stands in a table."""
    return f"{value:.3g}" if isinstance(value, float) else str("" if value is None else value)
