"""Per-channel standardisation that lives inside the model and ignores missing values."""

import warnings

import keras
import numpy as np
from keras import ops

from ceneurovae.model.missing import fold_mask


@keras.saving.register_keras_serializable(package="ceneurovae")
class ChannelScaler(keras.layers.Layer):
    """Shifts and scales each channel to mean 0 and standard deviation 1; NaN stays NaN.

    Fitted by `adapt`, in the manner of `keras.layers.Normalization`, on the observed entries
    alone. Its state is made of weights, so it is saved and exported with the model. A constant
    channel has a scale of 1.

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

    def build(self, input_shape):
        shape = (input_shape[-1],)

        def weight(name, initializer):
            # Raw units may exceed the range of half precision: never cast behind our back.
            return self.add_weight(
                shape=shape,
                initializer=initializer,
                trainable=False,
                dtype="float32",
                autocast=False,
                name=name,
            )

        self.mean = weight("mean", "zeros")
        self.std = weight("std", "ones")
        self.count = weight("count", "zeros")

    @property
    def adapted(self):
        """Whether `adapt` has been called, on this layer or on the one it was loaded from."""
        return self.built and bool(ops.convert_to_numpy(self.count).any())

    def adapt(self, data):
        """Fits the scaler in one pass over `data`.

        Args:
            data: Array `(N, T, C)` with NaN for missing, a pair `(x, mask)` of arrays, or an
                iterable of batches of either (a `tf.data.Dataset`, say). Where it has a `source`
                of samples, as the datasets of `import_h5` do, each sample counts once, however
                many windows it is in.

        Raises:
            ValueError: if `data` is empty or a channel was never observed.
        """
        count = mean = squares = 0.0
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
        self.std.assign(np.where(constant, 1.0, std))
        self.count.assign(count)

    def call(self, x):
        return (x - ops.cast(self.mean, x.dtype)) / ops.cast(self.std, x.dtype)

    def inverse(self, x):
        """Scaled values `(..., C)` -> raw units."""
        return x * ops.cast(self.std, x.dtype) + ops.cast(self.mean, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def iterate_batches(data, size=1024):
    """Batches of `data` as float NumPy arrays with NaN for missing.

    `data` is what `fit` takes: an array, a pair `(x, mask)` of arrays, or an iterable of either.
    """
    arrays = data if isinstance(data, tuple) else (data,)
    if all(hasattr(array, "shape") for array in arrays):
        starts = range(0, len(arrays[0]), size)
        data = ([array[start : start + size] for array in arrays] for start in starts)
    for batch in data:
        yield ops.convert_to_numpy(fold_mask(batch))


def _listed(flags):
    return ", ".join(str(index) for index in np.flatnonzero(flags))
