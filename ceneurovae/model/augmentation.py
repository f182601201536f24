"""More variety in the training windows: other speeds and other amplitudes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Array, Shape, Tensor


@keras.saving.register_keras_serializable(package="ceneurovae")
class Augmentation(keras.layers.Layer):
    """Slows down and rescales windows in training; at inference it is the identity.

    With equal chance a window is left as it is, or replaced by a part of it of
    `round(stretch[i] * T)` samples at a random place, resampled linearly in time to `T` samples
    ("window slicing" of Le Guennec, Malinowski & Tavenard, "Data augmentation for time series
    classification using convolutional neural networks", 2016). Each window is then multiplied by
    `exp(amplitude * n)`, `n ~ N(0, 1)` (Um et al., "Data augmentation of wearable sensor data for
    Parkinson's disease monitoring using convolutional neural networks", 2017, with a factor that
    cannot change sign), so that the values should be scaled: it is about 0, the mean of the
    training data, that they grow and shrink.

    Args:
        stretch: Lengths of the parts, as shares of the window, above 0 and below 1. With `()` no
            window is stretched.
        amplitude: Standard deviation of the logarithm of the factor. With 0 no window is rescaled.
        seed: Whole number that makes the sequence of draws repeatable.

    Input shape:
        `(B, T, C)`, scaled, NaN for missing; `T` and `C` fixed.

    Output shape:
        `(B, T, C)`. A sample between two others is NaN where one of them is.

    Raises:
        ValueError: if a stretch or the amplitude cannot be used.

    Example:

    >>> augmentation = Augmentation(stretch=(0.6,), amplitude=0.0, seed=0)
    >>> line = np.tile(np.arange(5.0)[None, :, None], (100, 1, 1))
    >>> y = keras.ops.convert_to_numpy(augmentation(line, training=True))
    >>> sorted({float(step) for step in np.diff(y, axis=1).ravel()})
    [0.5, 1.0]
    """

    def __init__(
        self,
        stretch: Sequence[float] = (0.75, 0.875),
        amplitude: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not all(0 < share < 1 for share in stretch):
            raise ValueError(
                f"stretch is {stretch!r}, expected shares above 0 and below 1. "
                "Use () to stretch no window."
            )
        if not 0 <= amplitude < float("inf"):
            raise ValueError(
                f"amplitude is {amplitude!r}, expected a number of at least 0. "
                "Use 0 to rescale no window."
            )
        self.stretch = tuple(stretch)
        self.amplitude = amplitude
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if not training:
            return x
        y = self._rescale(self._stretch(ops.cast(x, "float32")))
        return ops.cast(y, x.dtype)

    def _stretch(self, x: Tensor) -> Tensor:
        steps, channels = x.shape[1:]
        batch = ops.shape(x)[0]
        lengths = part_lengths(steps, self.stretch)
        before, fraction = resampling_table(steps, lengths)
        choice = keras.random.randint((batch,), 0, len(lengths), seed=self.seed_generator)
        places = ops.take(steps - lengths + 1, choice)
        place = keras.random.uniform((batch,), dtype="float32", seed=self.seed_generator)
        start = ops.cast(ops.floor(place * ops.cast(places, "float32")), "int32")
        start = ops.minimum(start, places - 1)  # the product may have been rounded up
        # Gathering rows of (B * T, C) is as fast as any other way, or faster, on each backend.
        offset = steps * ops.arange(batch, dtype="int32") + start
        before = ops.take(before, choice, axis=0) + offset[:, None]
        fraction = ops.take(fraction, choice, axis=0)
        after = before + ops.cast(fraction > 0, "int32")
        rows = ops.reshape(x, (-1, channels))
        left, right = ops.take(rows, before, axis=0), ops.take(rows, after, axis=0)
        return left + fraction[..., None] * (right - left)

    def _rescale(self, x: Tensor) -> Tensor:
        shape = (ops.shape(x)[0], 1, 1)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return x * ops.exp(self.amplitude * noise)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "stretch": self.stretch,
            "amplitude": self.amplitude,
            "seed": self.seed,
        }


def part_lengths(steps: int, stretch: Sequence[float]) -> Array:
    """Samples of the whole window, then of each part of it, int32; at least 2 where there are."""
    parts = [max(min(2, steps), round(share * steps)) for share in stretch]
    return np.array([steps, *parts], dtype="int32")


def resampling_table(steps: int, lengths: Array) -> tuple[Array, Array]:
    """How to resample each of `lengths` samples to `steps`, both ends included.

    Returns:
        Two arrays `(len(lengths), steps)`: the sample before, int32, and how far it is from there
        to the one after, as a share of a sample, float32. Whole numbers are divided, so that the
        share is 0 exactly where a new sample is an old one.
    """
    gaps = max(steps - 1, 1)
    before, rest = np.divmod(np.arange(steps) * (lengths[:, None] - 1), gaps)
    return before.astype("int32"), (rest / gaps).astype("float32")
