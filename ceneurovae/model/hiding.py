"""Masked training: parts of a window are hidden, and the model is to say what was there."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Shape, Tensor


@keras.saving.register_keras_serializable(package="ceneurovae")
class Hiding(keras.layers.Layer):
    """Hides parts of each window in training, as NaN; at inference it is the identity.

    Each window is left as it is or loses entries to one of `kinds`, all with equal chance, drawn
    for each window. Reconstructing what was hidden is the task of masked autoencoders (He et al.,
    "Masked autoencoders are scalable vision learners", 2022); hiding neurons, groups of neurons or
    the end instead of single entries makes it that of predicting one from the others (Zhang et
    al., "Towards a universal translator for neural dynamics at single-cell, single-spike
    resolution", 2024). The kinds are

    - `"entries"`: each entry with probability `share`;
    - `"spans"`: one stretch of time in every channel, at a random place, of
      `round(2 * share * T * u)` samples with `u ~ U(0, 1)`; in half of the windows the same
      stretch in all channels, in the others each channel has its own;
    - `"channels"`: each channel with probability `share`; of two or more, at least one is hidden
      and at least one left;
    - `"groups"`: all channels of one of the groups that `groups` names;
    - `"end"`: the last `round(2 * share * T * u)` samples of all channels, to be forecast.

    A stretch has at least 1 sample and at most `T - 1`. A window that would lose all that was
    observed in it is left as it is.

    Args:
        kinds: Tuple of kinds.
        share: Share of a window that a kind hides on average, above 0 and below 1. Stretches
            longer than the window are cut, so that above 0.5 they hide less.
        groups: For `"groups"`: the group of each channel, `C` names or whole numbers.
        seed: Whole number that makes the sequence of draws repeatable.

    Input shape:
        `(B, T, C)`, NaN for missing; `T` and `C` fixed.

    Output shape:
        `(B, T, C)`.

    Raises:
        ValueError: if a kind is unknown, `share` is out of range, or `groups` is not what
            `"groups"` needs.

    Example:

    >>> hiding = Hiding(("end",), seed=0)
    >>> y = hiding(keras.ops.ones((100, 10, 3)), training=True)
    >>> missing = keras.ops.convert_to_numpy(keras.ops.isnan(y))
    >>> [int(n) for n in np.unique(missing.sum(axis=(1, 2)))]
    [0, 3, 6, 9, 12]
    """

    def __init__(
        self,
        kinds: Sequence[str],
        share: float = 0.2,
        groups: Sequence[str | int] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(kinds, str) or not kinds or not set(kinds) <= set(_PATTERNS):
            raise ValueError(
                f"kinds is {kinds!r}, expected a tuple of one or more of {', '.join(_PATTERNS)}."
            )
        if not 0 < share < 1:
            raise ValueError(f"share is {share!r}, expected a number above 0 and below 1.")
        self.kinds = tuple(kinds)
        self.share = share
        if groups is not None:
            # NumPy's whole numbers would not survive a trip through JSON.
            groups = tuple(group if isinstance(group, str) else int(group) for group in groups)
        self.groups: tuple[str | int, ...] | None = groups
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.group_names = list(dict.fromkeys(self.groups or ()))
        if "groups" in self.kinds and len(self.group_names) < 2:
            raise ValueError(
                f"groups is {groups!r}, but to hide one group and leave another takes at least 2. "
                "Name the group of each channel, or leave 'groups' out of kinds."
            )

    def build(self, input_shape: Shape) -> None:
        channels, groups = input_shape[-1], self.groups or ()
        if "groups" in self.kinds and len(groups) != channels:
            raise ValueError(
                f"groups has {len(groups)} entries, but the data has {channels} channels. "
                "Name the group of each channel."
            )

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if not training:
            return x
        outcomes = len(self.kinds) + 1
        outcome = keras.random.randint(
            (ops.shape(x)[0], 1, 1), 0, outcomes, seed=self.seed_generator
        )
        hidden = ops.zeros_like(x, dtype="bool")
        for i, kind in enumerate(self.kinds):
            pattern = ops.logical_and(ops.equal(outcome, i), _PATTERNS[kind](self, x))
            hidden = ops.logical_or(hidden, pattern)
        missing = ops.logical_or(ops.isnan(x), hidden)
        nothing_left = ops.all(missing, axis=(1, 2), keepdims=True)
        hidden = ops.logical_and(hidden, ops.logical_not(nothing_left))
        return ops.where(hidden, ops.full_like(x, float("nan")), x)

    def _entries(self, x: Tensor) -> Tensor:
        return self._uniform(ops.shape(x)) < self.share

    def _spans(self, x: Tensor) -> Tensor:
        steps, channels = x.shape[1:]
        batch = ops.shape(x)[0]
        alike = self._uniform((batch, 1, 1)) < 0.5
        draws = self._uniform((2, batch, 1, channels))
        size, place = ops.unstack(ops.where(alike, draws[..., :1], draws), 2)
        length = self._length(size, steps)
        last = steps - length
        start = ops.minimum(ops.floor(place * (last + 1)), last)  # it may have been rounded up
        time = _time(steps)
        return ops.logical_and(time >= start, time < start + length)

    def _channels(self, x: Tensor) -> Tensor:
        draw = self._uniform((ops.shape(x)[0], 1, x.shape[-1]))
        lowest = ops.min(draw, axis=-1, keepdims=True)
        highest = ops.max(draw, axis=-1, keepdims=True)
        hidden = ops.logical_or(draw < self.share, ops.equal(draw, lowest))
        return ops.logical_and(hidden, draw < highest)

    def _groups(self, x: Tensor) -> Tensor:
        shape, count = (ops.shape(x)[0], 1, 1), len(self.group_names)
        group = keras.random.randint(shape, 0, count, seed=self.seed_generator)
        of_channel = np.array([self.group_names.index(name) for name in self.groups or ()], "int32")
        return ops.equal(group, of_channel)

    def _end(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        length = self._length(self._uniform((ops.shape(x)[0], 1, 1)), steps)
        return _time(steps) >= steps - length

    def _length(self, draw: Tensor, steps: int) -> Tensor:
        """Lengths of stretches, in samples as float32, from draws of `U(0, 1)`."""
        length = ops.round(2 * self.share * steps * draw)
        return ops.clip(length, 1, max(steps - 1, 1))

    def _uniform(self, shape: Shape) -> Tensor:
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "kinds": self.kinds,
            "share": self.share,
            "groups": self.groups,
            "seed": self.seed,
        }


def _time(steps: int) -> Tensor:
    return ops.arange(steps, dtype="float32")[:, None]


# Each gives the entries to hide as bool, of a shape that broadcasts to (B, T, C).
_PATTERNS = {
    "entries": Hiding._entries,
    "spans": Hiding._spans,
    "channels": Hiding._channels,
    "groups": Hiding._groups,
    "end": Hiding._end,
}
KINDS = tuple(_PATTERNS)
