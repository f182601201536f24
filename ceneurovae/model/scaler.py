"""Per-channel standardisation that lives inside the model and ignores missing values."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Array, Data, Shape, Tensor
from ceneurovae.model.fixed import fixed_weight
from ceneurovae.model.missing import fold_mask


@keras.saving.register_keras_serializable(package="ceneurovae")
class ChannelScaler(keras.layers.Layer):
    """Shifts and scales each channel to mean 0 and standard deviation 1; NaN stays NaN.

    Fitted by `adapt`, in the manner of `keras.layers.Normalization`, on the observed entries
    alone. Its state is made of weights, so it is saved and exported with the model. A constant
    channel has a scale of 1.

    Args:
        scale: `"channel"` divides each channel by its own standard deviation, which gives a channel
            of noise the weight of one of signal; `"group"` by the root of the mean variance of all
            channels of its group, such as the neurons, which keeps the larger ones larger;
            `"none"` by 1. The mean is taken off in all cases.
        groups: Name of each channel's group, for `"group"`.

    Input shape:
        `(..., C)`, raw units.

    Output shape:
        `(..., C)`, in standard deviations of the channel. `inverse` goes back.

    Example:

    >>> scaler = ChannelScaler()
    >>> scaler.adapt(np.array([[[1.0], [3.0], [np.nan]]]))
    >>> [float(v) for v in scaler(np.array([[1.0], [3.0], [5.0]]))[:, 0]]
    [-1.0, 1.0, 3.0]
    """

    def __init__(
        self, scale: str = "channel", groups: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if scale not in ("channel", "group", "none"):
            raise ValueError(f"scale is {scale!r}, expected one of channel, group, none.")
        if scale == "group" and not groups:
            raise ValueError("scale='group' needs groups, the name of the group of each channel.")
        self.scale = scale
        self.groups = None if groups is None else tuple(groups)

    def build(self, input_shape: Shape) -> None:
        shape, groups = (input_shape[-1],), self.groups or ()
        if self.scale == "group" and len(groups) != shape[0]:
            raise ValueError(
                f"There are {len(groups)} groups for {shape[0]} channels. Name one for each."
            )
        self.mean = fixed_weight(self, "mean", shape, "zeros")
        self.std = fixed_weight(self, "std", shape, "ones")
        self.count = fixed_weight(self, "count", shape, "zeros")

    @property
    def adapted(self) -> bool:
        """Whether `adapt` has been called, on this layer or on the one it was loaded from."""
        return self.built and bool(ops.convert_to_numpy(self.count).any())

    def adapt(self, data: Data) -> None:
        """Fits the scaler in one pass over `data`.

        Args:
            data: Array `(N, T, C)` with NaN for missing, a pair `(x, mask)` of arrays, or an
                iterable of batches of either (a `tf.data.Dataset`, say). Where it has a `source`
                of samples, as the datasets of `import_h5` do, each sample counts once, however
                many windows it is in.

        Raises:
            ValueError: if `data` is empty or a channel was never observed.
        """
        count: Any = 0.0
        mean: Any = 0.0
        squares: Any = 0.0
        source = getattr(data, "source", None)
        for x in iterate_batches(data) if source is None else source.samples():
            x = x.reshape(-1, x.shape[-1])
            observed = ~np.isnan(x)
            n = observed.sum(axis=0)
            batch_mean = np.where(observed, x, 0).sum(axis=0, dtype="float64") / np.maximum(n, 1)
            deviation = np.where(observed, x - batch_mean, 0)
            # Chan, Golub & LeVeque, "Updating formulae ... for sample variances", 1979, eq. 2.1.
            total = np.maximum(count + n, 1)
            shift = batch_mean - mean
            squares = squares + np.square(deviation).sum(axis=0) + shift**2 * count * n / total
            mean = mean + shift * n / total
            count = count + n
        if np.ndim(count) == 0:
            raise ValueError("There is nothing to adapt to: the data holds no batch.")
        if not count.all():
            raise ValueError(
                f"Channel {_listed(count == 0)} is missing throughout the training data. "
                "Leave it out."
            )
        std = np.sqrt(squares / count)
        constant = std <= 1e-6 * np.abs(mean)
        if constant.any():
            warnings.warn(
                f"Channel {_listed(constant)} is constant in the training data: kept, scale 1.",
                stacklevel=2,
            )
        if not self.built:
            self.build((None, None, len(count)))
        elif len(count) != self.mean.shape[0]:
            raise ValueError(
                f"The data has {len(count)} channels, the scaler has {self.mean.shape[0]}."
            )
        self.mean.assign(mean)
        self.std.assign(self._scales(np.where(constant, 1.0, std), constant))
        self.count.assign(count)

    def _scales(self, std: Array, constant: Array) -> Array:
        """What each channel is divided by, from the standard deviations, 1 where constant."""
        if self.scale == "none":
            return np.ones_like(std)
        if self.scale == "channel":
            return std
        scales = std.copy()
        for group in set(self.groups or ()):
            members = np.array([name == group for name in self.groups or ()]) & ~constant
            if members.any():
                scales[members] = np.sqrt(np.mean(np.square(std[members])))
        return scales

    def call(self, x: Tensor) -> Tensor:
        return (x - ops.cast(self.mean, x.dtype)) / ops.cast(self.std, x.dtype)

    def inverse(self, x: Tensor) -> Tensor:
        """Scaled values -> raw units.

        Args:
            x: `(..., C)`, in standard deviations of the channel.
        """
        return x * ops.cast(self.std, x.dtype) + ops.cast(self.mean, x.dtype)

    def as_numpy(self, x: Tensor) -> Array:
        """Raw units -> scaled values, as NumPy.

        Args:
            x: `(..., C)`, raw units, NaN for missing.
        """
        mean, std = ops.convert_to_numpy(self.mean), ops.convert_to_numpy(self.std)
        return (ops.convert_to_numpy(x).astype("float32", copy=False) - mean) / std

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> JSON:
        return {**super().get_config(), "scale": self.scale, "groups": self.groups}


def iterate_batches(data: Data, size: int = 1024) -> Iterator[Array]:
    """Batches of `data` as float NumPy arrays with NaN for missing.

    `data` is what `fit` takes: an array, a pair `(x, mask)` of arrays, or an iterable of either.
    """
    arrays = data if isinstance(data, tuple) else (data,)
    if all(hasattr(array, "shape") for array in arrays):
        starts = range(0, len(arrays[0]), size)
        data = ([array[start : start + size] for array in arrays] for start in starts)
    for batch in data:
        yield ops.convert_to_numpy(fold_mask(batch))


def some_windows(data: Data, most: int = 20_000, size: int = 256) -> Iterator[Array]:
    """Batches of at most `most` windows of `data`: evenly spaced ones, unless it is a stream.

    `data` is `Windows`, or what `iterate_batches` takes.
    """
    source = data if hasattr(data, "gather") else getattr(data, "source", None)
    arrays = data if isinstance(data, tuple) else (data,)
    if source is not None:
        for chosen in np.array_split(
            _spaced(len(source), most), -(-min(len(source), most) // size)
        ):
            yield source.gather(chosen)
    elif all(hasattr(array, "shape") for array in arrays):
        chosen = _spaced(len(arrays[0]), most)
        yield from iterate_batches(tuple(array[chosen] for array in arrays), size)
    else:
        left = most
        for x in iterate_batches(data, size):
            yield x[:left]
            left -= len(x)
            if left <= 0:
                return


def _spaced(count: int, most: int) -> Array:
    return np.linspace(0, count - 1, min(count, most)).astype("int64")


def _listed(flags: Array) -> str:
    return ", ".join(str(index) for index in np.flatnonzero(flags))
