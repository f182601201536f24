"""Dropout whose random numbers cost little: those of the backends are up to a third of a step."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import Tensor

# A draw is a whole number of so many bits, from -HALF to HALF - 1: enough for a rate to 1e-5.
BITS = 16
HALF = 2 ** (BITS - 1)
# Odd numbers whose bits look random; of "MurmurHash3", Appleby, 2011, and 2^32 over the golden
# ratio.
MULTIPLIERS = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
GOLDEN = np.uint32(0x9E3779B9)


@keras.saving.register_keras_serializable(package="ceneurovae")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` in a half to a twentieth of its time.

    A backend draws 32 bits or more for every unit. Here a unit takes 16. TensorFlow, and PyTorch
    on a CPU, cut them from fewer and larger whole numbers of their generators. JAX hashes the
    position of the unit and the seed, which XLA does in one pass with what comes before and after
    (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011; the hash is the finalizer
    of MurmurHash3, twice).

    Args:
        rate: Share of units dropped in training, 0 to 1, rounded to a multiple of `2^-16`.
        seed: Whole number that makes the sequence of draws repeatable.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Example:

    >>> y = Dropout(0.5, seed=0)(np.ones((2, 8), "float32"), training=True)
    >>> sorted(set(keras.ops.convert_to_numpy(y).ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, **kwargs)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not 0 < self.rate < 1:
            return super().call(inputs, training=training)
        make = _DRAWS.get(type(inputs).__module__.partition(".")[0])
        draws = make and make(self, inputs)
        if draws is None:
            return super().call(inputs, training=training)
        dropped = round(self.rate * 2 * HALF)
        kept = ops.cast(draws >= dropped - HALF, inputs.dtype)
        return inputs * (kept * (2 * HALF / (2 * HALF - dropped)))


def _hashed(layer: Dropout, inputs: Tensor) -> Tensor:
    """Draws of JAX, of the shape of the inputs."""
    first, second = ops.unstack(layer.seed_generator.next(), 2)
    position = ops.arange(math.prod(inputs.shape), dtype="uint32")
    hashed = _mixed(_mixed(position * GOLDEN + first) ^ second)
    draws = ops.cast(hashed >> np.uint32(BITS), "int32") - HALF
    return ops.reshape(draws, inputs.shape)


def _mixed(x: Tensor) -> Tensor:
    for multiplier, shift in zip(MULTIPLIERS, (16, 13), strict=True):
        x = (x ^ (x >> np.uint32(shift))) * multiplier
    return x ^ (x >> np.uint32(16))


def _in_tensorflow(layer: Dropout, inputs: Tensor) -> Tensor:
    import tensorflow as tf

    count = tf.size(inputs)
    seed = tf.cast(tf.math.floormod(layer.seed_generator.next(), tf.int32.max), tf.int32)
    pairs = tf.random.stateless_uniform(
        [(count + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32
    )
    draws = tf.reshape(tf.bitcast(pairs, tf.int16), [-1])[:count]
    return tf.reshape(draws, tf.shape(inputs))


def _in_torch(layer: Dropout, inputs: Tensor) -> Tensor | None:
    """Of the random state that all layers share; `None` where PyTorch has a kernel, or a seed."""
    import torch

    if inputs.device.type != "cpu" or layer.seed is not None:
        return None
    count = inputs.numel()
    fours = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return fours.view(torch.int16)[:count].view(inputs.shape)


# By the package that a tensor is of.
_DRAWS = {"jax": _hashed, "jaxlib": _hashed, "tensorflow": _in_tensorflow, "torch": _in_torch}
