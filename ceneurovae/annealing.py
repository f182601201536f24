"""Schedules of the KL weight, as pure functions of the step, and the callback that applies them.

All schedules take `step` and `warmup` in the same unit, epochs or training steps, and go from
`start` to `stop`. They have no state, so training resumes where it was.
"""

import math
from collections.abc import Callable

import keras

from ceneurovae.hints import JSON


def linear_kl_schedule(step: float, warmup: float, start: float = 0.0, stop: float = 1.0) -> float:
    """Straight from `start` at step 0 to `stop` at step `warmup` (Bowman et al., 2016).

    Args:
        step: Epoch or training step, from 0.
        warmup: Length of the ramp, in the unit of `step`.
        start: Weight at the beginning.
        stop: Weight at the end.

    >>> [linear_kl_schedule(step, warmup=4) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return start + (stop - start) * _share(step, warmup)


def step_kl_schedule(step: float, warmup: float, start: float = 0.0, stop: float = 1.0) -> float:
    """`start` before step `warmup`, `stop` from then on.

    Args:
        step: Epoch or training step, from 0.
        warmup: Length of the ramp, in the unit of `step`.
        start: Weight at the beginning.
        stop: Weight at the end.

    >>> [step_kl_schedule(step, warmup=4) for step in (0, 3, 4)]
    [0.0, 0.0, 1.0]
    """
    return float(stop if step >= warmup else start)


def cyclical_kl_schedule(
    step: float, warmup: float, start: float = 0.0, stop: float = 1.0, cycles: int = 4
) -> float:
    """`cycles` times: up from `start` to `stop` in `warmup` steps, then `stop` for as many.

    After the last cycle it stays at `stop`. Fu et al., "Cyclical annealing schedule: a simple
    approach to mitigating KL vanishing", 2019, with half of each cycle spent on the ramp.

    Args:
        step: Epoch or training step, from 0.
        warmup: Length of the ramp, in the unit of `step`.
        start: Weight at the beginning.
        stop: Weight at the end.
        cycles: How many times.

    >>> [cyclical_kl_schedule(step, warmup=2, cycles=2) for step in range(9)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if step >= 2 * warmup * cycles:
        return float(stop)
    return linear_kl_schedule(step % (2 * warmup), warmup, start, stop)


def sigmoid_kl_schedule(
    step: float, warmup: float, start: float = 0.0, stop: float = 1.0, steepness: float = 10.0
) -> float:
    """An S from `start` at step 0 to `stop` at step `warmup`, half way at `warmup / 2`.

    Bowman et al., "Generating sentences from a continuous space", 2016, scaled so that it starts
    and ends exactly.

    Args:
        step: Epoch or training step, from 0.
        warmup: Length of the ramp, in the unit of `step`.
        start: Weight at the beginning.
        stop: Weight at the end.
        steepness: Slope of the logistic over the whole ramp.

    >>> [round(sigmoid_kl_schedule(step, warmup=4), 3) for step in (0, 1, 2, 4, 9)]
    [0.0, 0.07, 0.5, 1.0, 1.0]
    """

    def logistic(share: float) -> float:
        return 1 / (1 + math.exp(-steepness * (share - 0.5)))

    low, high = logistic(0.0), logistic(1.0)
    return start + (stop - start) * (logistic(_share(step, warmup)) - low) / (high - low)


SCHEDULES = {
    "linear": linear_kl_schedule,
    "step": step_kl_schedule,
    "cyclical": cyclical_kl_schedule,
    "sigmoid": sigmoid_kl_schedule,
}


def _share(step: float, warmup: float) -> float:
    """How much of the warm-up is over, in `[0, 1]`."""
    return min(step / warmup, 1.0) if warmup > 0 else 1.0


class KLAnnealing(keras.callbacks.Callback):
    """Sets `model.kl_weight` by a schedule and reports it in the logs as `kl_weight`.

    It keeps no count of its own: epochs are those of `fit` (give it `initial_epoch` to resume),
    steps those of the optimizer, which are saved with the model.

    Args:
        schedule: `"linear"`, `"step"`, `"cyclical"`, `"sigmoid"`, or a function of the epoch (or
            step) that returns the weight.
        warmup_epochs: Length of the ramp in epochs.
        warmup_steps: Length of the ramp in training steps, instead of epochs. The weight then
            moves at every step.
        start: Weight at the beginning.
        stop: Weight at the end (the beta of a beta-VAE).
        by: `"epoch"` or `"step"`: what a function of your own is given. `warmup_steps` implies
            `"step"`.

    Raises:
        ValueError: if an argument cannot be used.
    """

    def __init__(
        self,
        schedule: str | Callable[[int], float] = "linear",
        warmup_epochs: int = 10,
        warmup_steps: int | None = None,
        start: float = 0.0,
        stop: float = 1.0,
        by: str = "epoch",
    ) -> None:
        super().__init__()
        if by not in ("epoch", "step"):
            raise ValueError(f"by is {by!r}, expected 'epoch' or 'step'.")
        warmup = warmup_epochs if warmup_steps is None else warmup_steps
        for name, value in (("warmup", warmup), ("start", start), ("stop", stop)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}, expected a number of at least 0.")
        if callable(schedule):
            self.weight_at = schedule
        elif schedule in SCHEDULES:
            function = SCHEDULES[schedule]
            self.weight_at = lambda step: function(step, warmup, start, stop)
        else:
            raise ValueError(
                f"The KL schedule is {schedule!r}, expected one of {', '.join(SCHEDULES)} or a "
                "function of the epoch."
            )
        self.by_step = by == "step" or warmup_steps is not None

    def on_train_begin(self, logs: JSON | None = None) -> None:
        self._weight: float | None = None

    def on_epoch_begin(self, epoch: int, logs: JSON | None = None) -> None:
        if self.by_step:
            self._first_step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        else:
            self._set(self.weight_at(epoch))

    def on_train_batch_begin(self, batch: int, logs: JSON | None = None) -> None:
        if self.by_step:
            self._set(self.weight_at(self._first_step + batch))

    def on_epoch_end(self, epoch: int, logs: JSON | None = None) -> None:
        if logs is not None:
            logs["kl_weight"] = self._weight

    def _set(self, weight: float) -> None:
        weight = float(weight)
        if not 0 <= weight < math.inf:
            raise ValueError(f"The KL schedule gave {weight}, expected a number of at least 0.")
        # Asking for `self.model` brings the state that JAX holds back into the model and has it
        # read again, which costs a copy: only where the weight changes.
        if self._weight != weight:
            self.model.kl_weight.assign(weight)
            self._weight = weight
