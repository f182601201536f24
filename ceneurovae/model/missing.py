"""Missing data: NaN is the one mark for it; a mask given beside the values becomes NaN."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import Array, Data, Tensor


def fold_mask(batch: Data) -> Tensor:
    """`x`, or a pair `(x, mask)`, as one float32 tensor with NaN where nothing was observed.

    Args:
        batch: `(B, T, C)`, or a pair of it and a mask of the same shape, nonzero where observed.

    Raises:
        ValueError: if the mask has another shape than the values.
    """
    if not isinstance(batch, (tuple, list)):
        return ops.convert_to_tensor(batch, "float32")
    if len(batch) == 1:
        return fold_mask(batch[0])
    if len(batch) != 2:
        raise ValueError(
            f"Received a batch of {len(batch)} parts, expected x or the pair (x, mask)."
        )
    x, mask = ops.convert_to_tensor(batch[0], "float32"), ops.convert_to_tensor(batch[1])
    if tuple(x.shape) != tuple(mask.shape):
        raise ValueError(
            f"The mask has shape {tuple(mask.shape)}, the values {tuple(x.shape)}. "
            "Give one mask entry per value."
        )
    return ops.where(ops.cast(mask, "bool"), x, ops.full_like(x, float("nan")))


def split_missing(x: Tensor) -> tuple[Tensor, Tensor]:
    """`(B, T, C)` with NaN -> values with 0 in their place, and 1 where observed, else 0."""
    observed = ops.logical_not(ops.isnan(x))
    return ops.where(observed, x, ops.zeros_like(x)), ops.cast(observed, x.dtype)


def interpolate(x: Tensor) -> Tensor:
    """`(B, T, C)` with NaN -> without: straight lines in time between what was observed.

    Before the first and after the last observed sample of a channel its value is kept; a channel
    of a window that was never observed is 0. `T` is fixed.
    """
    return ops.cond(ops.any(ops.isnan(x)), lambda: _interpolated(x), lambda: x)


def interpolated(x: Array) -> Array:
    """`interpolate` of NumPy, at once: JAX compiles both branches of `interpolate` at each call."""
    if not np.isnan(x).any():
        return x
    return ops.convert_to_numpy(_interpolated(ops.convert_to_tensor(x, "float32")))


def _interpolated(x: Tensor) -> Tensor:
    steps = x.shape[1]
    now = ops.reshape(ops.arange(steps, dtype="int32"), (1, steps, 1))
    missing = ops.isnan(x)
    # Where the last sample was observed, and the next one will be.
    before = _running_maximum(ops.where(missing, -1, now))
    after = -ops.flip(_running_maximum(ops.flip(ops.where(missing, -steps, -now), 1)), 1)
    # One that there is stands for one that there is not; where there is none, NaN remains.
    before, after = ops.where(before < 0, after, before), ops.where(after >= steps, before, after)
    before, after = ops.minimum(before, steps - 1), ops.maximum(after, 0)
    earlier, later = (ops.take_along_axis(x, index, axis=1) for index in (before, after))
    share = ops.cast(now - before, x.dtype) / ops.cast(ops.maximum(after - before, 1), x.dtype)
    value = earlier + share * (later - earlier)
    return ops.where(ops.isnan(value), ops.zeros_like(x), value)


def _running_maximum(index: Tensor) -> Tensor:
    """The running maximum of `(B, T, C)` along time.

    In `log2(T)` steps, each of which doubles how far values are carried; PyTorch has a kernel.
    """
    if hasattr(index, "cummax"):
        return index.cummax(1).values
    steps, distance = index.shape[1], 1
    while distance < steps:
        moved = ops.maximum(index[:, distance:], index[:, :-distance])
        index = ops.concatenate([index[:, :distance], moved], axis=1)
        distance *= 2
    return index


class MissingDataModel(keras.Model):
    """A Keras model whose data is `x` or `(x, mask)`, in every method that takes data.

    Keras reads a pair as input and target. Here it is folded into one tensor with NaN for
    missing, which is input and target both. On JAX the steps receive the training state before
    the batch, on TensorFlow and PyTorch the batch alone.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras under JAX notes its state after every step, and would track each array of it: a
        # tenth of the time of a small step.
        if name == "_jax_state":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def train_step(self, *args: Any) -> Any:
        *state, batch = args
        return super().train_step(*state, self._input_and_target(batch, training=True))

    def test_step(self, *args: Any) -> Any:
        *state, batch = args
        return super().test_step(*state, self._input_and_target(batch))

    def predict_step(self, *args: Any) -> Any:
        *state, batch = args
        return super().predict_step(*state, self._input_and_target(batch))

    def _input_and_target(self, batch: Data, training: bool = False) -> tuple[Any, Any, Any]:
        x, mask, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        x = fold_mask(x if mask is None else (x, mask))
        return x, x, sample_weight
