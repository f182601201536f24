"""What Ray Tune tells of the members of a population while it runs them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ceneurovae.population import MemberReport
from ceneurovae.ray_member import number_of

Tell = Callable[[tuple[MemberReport, ...]], None]
_tell: ContextVar[Tell | None] = ContextVar("tell", default=None)

STATUSES = {
    Trial.RUNNING: "running",
    Trial.TERMINATED: "completed",
    Trial.ERROR: "failed",
}


class Watch(tune.Callback):
    """A `ray.tune.Callback` that tells who is `watching` of each change.

    Ray keeps a copy of it in the folder of the search, so that it has nothing of its own.
    """

    def __init__(self) -> None:
        self.last: tuple[MemberReport, ...] = ()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        tell, members = _tell.get(), members_of(trials)
        if tell is not None and members != self.last:
            tell(members)
        self.last = members

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self.on_step_end(0, trials)


@contextmanager
def watching(tell: Tell) -> Iterator[None]:
    """A context in which a function is called with the members whenever something has changed."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def members_of(trials: list[Trial]) -> tuple[MemberReport, ...]:
    """What is known of members from their trials."""
    return tuple(sorted((_member_of(trial) for trial in trials), key=lambda member: member.number))


def _member_of(trial: Trial) -> MemberReport:
    result = trial.run_metadata.last_result or {}
    status = STATUSES.get(trial.status, "waiting")
    message = result.get("message")
    if status == "failed":
        message = _message(trial)
    elif message is not None and status == "completed":
        status = "failed"
    score, seconds = result.get("score"), result.get("time_total_s")
    return MemberReport(
        number=number_of(trial.trial_id),
        hyperparameters=dict(trial.config["hyperparameters"]),
        status=status,
        score=None if score is None or not math.isfinite(score) else score,
        generation=result.get("training_iteration", 0),
        epochs=result.get("epochs"),
        seconds=None if seconds is None else round(seconds, 1),
        source=result.get("source"),
        message=message,
    )


def _message(trial: Trial) -> str | None:
    """Why a trial failed, in one line; `None` until Ray has written it down."""
    error = trial.get_pickled_error() or trial.get_error()
    if error is None:
        return None
    cause = getattr(error, "cause", None)
    if cause is not None:
        return " ".join(str(cause).split())
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A process that did not even begin has an error of its own at the end.
    return lines[-1] if "creation task" in lines[0] else f"{type(error).__name__}: {lines[0]}"
