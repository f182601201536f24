"""What a search is doing: a live table of its trials, or lines without a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rich.live import Live
from rich.table import Table

from ceneurovae.console import messages, say

if TYPE_CHECKING:
    from ceneurovae.search import Trial

# Trials that are shown; older ones are in `trials.csv`.
SHOWN = 15


def trials_table(trials: "Sequence[Trial]", objective: str = "elbo") -> Table:
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


def trial_line(trial: "Trial", best: "Trial | None") -> str:
    """A trial that has ended, as text."""
    values = ", ".join(f"{name} {shown_value(v)}" for name, v in trial.hyperparameters.items())
    if trial.status == "failed":
        told = f"failed: {trial.message}"
    else:
        highest = trial.score if best is None else best.score
        told = f"{trial.epochs} epochs, score {trial.score:.4g}, best {highest:.4g}"
    return f"Trial {trial.number}: {values}: {told}"


class Scored(Protocol):
    """What has a score, once it is known."""

    @property
    def score(self) -> float | None:
        """The higher, the better."""


S = TypeVar("S", bound=Scored)


def best_of(trials: Sequence[S]) -> S | None:
    """The trial with the highest score, `None` before there is one."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score or 0.0, default=None)


def varying_names(trials: "Sequence[Trial]") -> list[str]:
    """Names of the hyperparameters in which trials differ."""
    names = dict.fromkeys(name for trial in trials for name in trial.hyperparameters)
    return [
        name
        for name in names
        if len({str(trial.hyperparameters.get(name)) for trial in trials}) > 1
    ]


@contextmanager
def showing_trials(
    objective: str, quiet: bool = False
) -> "Iterator[Callable[[Sequence[Trial]], None]]":
    """A context with a function of the trials that shows them, for `tune(report=)`."""
    if quiet:
        yield lambda trials: None
    elif messages.is_terminal:
        with Live(console=messages, refresh_per_second=4) as live:
            yield lambda trials: live.update(trials_table(list(trials), objective))
    else:
        said = set()

        def say_new(trials: "Sequence[Trial]") -> None:
            for trial in trials:
                if trial.status in ("completed", "failed") and trial.number not in said:
                    said.add(trial.number)
                    say(trial_line(trial, best_of(trials)))

        yield say_new


def shown_value(value: Any) -> str:
    """A hyperparameter, or another value, as it stands in a table."""
    return f"{value:.3g}" if isinstance(value, float) else str("" if value is None else value)
