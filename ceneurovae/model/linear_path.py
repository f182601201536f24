"""The linear model inside the model: probabilistic PCA of windows, on a smooth basis in time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Array, Shape, Tensor
from ceneurovae.model.fixed import fixed_weight
from ceneurovae.model.missing import interpolate, interpolated

MOST_COMPONENTS = 128
MOST_CHANNEL_COMPONENTS = 40
# Cosines in time: more where few channels leave room for them.
COSINES_OF_FEW_CHANNELS, FEW_CHANNELS, COSINES = 40, 4, 24
SHRINKAGES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
SLOWNESSES = (0.0, 1.0, 2.0, 4.0, 8.0)
# Share of the variance that noise has at least, so that its logarithm stays finite.
LEAST_NOISE = 1e-4


@keras.saving.register_keras_serializable(package="ceneurovae")
class LinearPath(keras.layers.Layer):
    """Scores of windows on principal components that are smooth in time, and back.

    Windows are written in the products of the leading components of the channels and of cosines
    in time (the DCT), and the components are principal ones of those coefficients, orthonormal in
    `(T, C)`. With its variances and noise level it is the probabilistic PCA of Tipping & Bishop,
    "Probabilistic principal component analysis", 1999: `x = sum_i w_i z_i u_i + noise` with
    `w_i = sqrt(variance_i - noise)`, whose posterior is

        mu_i = w_i / variance_i * score_i        logvar_i = log(noise / variance_i)

    Its weights are not trained but set by `fit_subspace`; before that, the components are the
    products of slow cosines and single channels.

    Args:
        seq_len: Length `T` of a window.
        channels: Number `C` of channels.
        most_components: How many components `M` there are at most.

    Input shape:
        `(B, T, C)`, scaled; NaN is interpolated in time.

    Output shape:
        `(B, M)`, scores, the leading components first. `inverse` goes back.
    """

    def __init__(
        self, seq_len: int, channels: int, most_components: int = MOST_COMPONENTS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.channels = channels
        self.channel_components = min(channels, MOST_CHANNEL_COMPONENTS)
        most = COSINES_OF_FEW_CHANNELS if channels <= FEW_CHANNELS else COSINES
        self.cosines = min(seq_len, most)
        self.features = self.cosines * self.channel_components
        self.most_components = most_components
        self.components = min(self.features, most_components)
        self.time_basis = cosine_basis(seq_len, self.cosines)

    def build(self, input_shape: Shape | None = None) -> None:
        # A name and shape, and what it is before the fit.
        even = self.seq_len * self.channels / self.components
        initial = {
            "channel_basis": np.eye(self.channel_components, self.channels),
            "mixing": np.eye(self.components, self.features),
            "variances": np.full(self.components, even),
            "noise": np.array(0.05),
        }
        for name, value in initial.items():

            def initializer(shape: Shape, dtype: Any, value: Array = value) -> Tensor:
                return ops.convert_to_tensor(value, dtype)

            setattr(self, name, fixed_weight(self, name, value.shape, initializer))

    def assign(self, fitted: dict[str, Array]) -> None:
        """Takes over what `fit_subspace` found.

        Args:
            fitted: Values of the weights by name.
        """
        for name, value in fitted.items():
            getattr(self, name).assign(value)

    def call(self, x: Tensor) -> Tensor:
        return self.project(interpolate(ops.cast(x, "float32")))

    def project(self, x: Tensor) -> Tensor:
        """Scores `(B, M)` of windows.

        Args:
            x: `(B, T, C)`, scaled, without NaN.
        """
        return ops.matmul(self._coefficients(x), ops.transpose(self.mixing))

    def inverse(self, scores: Tensor) -> Tensor:
        """Scores -> windows `(B, T, C)`, float32.

        Args:
            scores: `(B, M)`, or fewer, the leading ones.
        """
        scores = ops.cast(scores, "float32")
        coefficients = ops.matmul(scores, self.mixing[: scores.shape[-1]])
        if self.channels <= FEW_CHANNELS:
            windows = ops.matmul(coefficients, self._products())
            return ops.reshape(windows, (-1, self.seq_len, self.channels))
        shape = (-1, self.cosines, self.channel_components)
        in_channels = ops.matmul(ops.reshape(coefficients, shape), self.channel_basis)
        return ops.matmul(ops.transpose(ops.cast(self.time_basis, "float32")), in_channels)

    def _coefficients(self, x: Tensor) -> Tensor:
        """`(B, K * P)`: what windows are made of, in products of cosines and channel components."""
        if self.channels <= FEW_CHANNELS:
            windows = ops.reshape(x, (-1, self.seq_len * self.channels))
            return ops.matmul(windows, ops.transpose(self._products()))
        components = ops.matmul(x, ops.transpose(self.channel_basis))
        coefficients = ops.matmul(ops.cast(self.time_basis, "float32"), components)
        return ops.reshape(coefficients, (-1, self.features))

    def _products(self) -> Tensor:
        """`(K * P, T * C)`: each of those products as a window.

        Where channels are few, one product of matrices is faster than many small ones.
        """
        cosines = ops.cast(self.time_basis, "float32")[:, None, :, None]
        products = cosines * ops.convert_to_tensor(self.channel_basis)[None, :, None, :]
        return ops.reshape(products, (self.features, self.seq_len * self.channels))

    def expectation(self, z: Tensor) -> Tensor:
        """Scores `w * z`: as many as there are latents, or components.

        Args:
            z: `(B, Z)`.
        """
        z = ops.convert_to_tensor(z, "float32")[:, : self.components]
        variances = self.variances[: z.shape[-1]]
        return z * ops.sqrt(ops.maximum(variances - self.noise, 0.0))

    def posterior(self, scores: Tensor, latents: int) -> tuple[Tensor, Tensor]:
        """`mu` `(B, Z)` and `logvar` `(Z,)` of probabilistic PCA, those of the prior beyond `M`.

        Args:
            scores: `(B, M)`.
            latents: Number `Z` of latents.
        """
        variances = self.variances[:latents]
        weights = ops.sqrt(ops.maximum(variances - self.noise, 0.0)) / variances
        beyond = max(0, latents - self.components)
        mu = ops.pad(scores[:, :latents] * weights, ((0, 0), (0, beyond)))
        return mu, ops.pad(ops.log(self.noise / variances), ((0, beyond),))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.components)

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "seq_len": self.seq_len,
            "channels": self.channels,
            "most_components": self.most_components,
        }


def cosine_basis(steps: int, count: int) -> Array:
    """The `count` slowest of the orthonormal cosines (DCT-II) on `steps` samples, `(count, T)`."""
    k, t = np.arange(count)[:, None], np.arange(steps) + 0.5
    basis = np.cos(np.pi * k * t / steps) * np.sqrt(2.0 / steps)
    basis[0] /= np.sqrt(2.0)
    return basis.astype("float32")


def fit_subspace(
    path: LinearPath,
    windows: Callable[[], Iterable[Array]],
    latents: int,
    valid: Callable[[], Iterable[Array]] | None = None,
    shrinkage: float | None = None,
    slowness: float | None = None,
) -> tuple[dict[str, Array], JSON]:
    """What a `LinearPath` is to be, from training windows.

    Before components are taken of the second moments `S` of the coefficients, these are made more
    like what is to be expected of other windows. They are shrunk to their diagonal,
    `(1 - a) S + a diag(S)`: with fewer windows than coefficients, leading components are else those
    of chance. And the `k`-th cosine is multiplied by `(1 + k)^(-b / 2)`, so that slow ones go
    first: recordings drift, and what happens later in one differs from what happened before by
    what is slow.

    Args:
        path: The `LinearPath`, built.
        windows: Function that gives an iterable of batches `(n, T, C)`, scaled, with NaN.
        latents: Number `Z` of latents.
        valid: Likewise for validation windows, on which the shrinkage is chosen from 0, .1, .25,
            .5, .75, .9 and 1, and then the slowness from 0, 1, 2, 4 and 8, as those whose leading
            `Z` components capture most of their variance.
        shrinkage: `a`, if it is not to be chosen; 0.25 where `valid` is `None` too.
        slowness: `b`, if it is not to be chosen; 0 where `valid` is `None` too.

    Returns:
        `(fitted, chosen)`: arguments of `LinearPath.assign`, and `shrinkage` and `slowness`.
    """
    moment = sum(_second_moment(x.reshape(-1, x.shape[-1])) for x in _filled(windows()))
    channel_basis = np.linalg.eigh(moment)[1][:, ::-1][:, : path.channel_components].T
    path.channel_basis.assign(channel_basis.astype("float32"))
    moment, total = _coefficient_moment(path, windows)

    def components(count: int, **chosen: float) -> Array:
        return _components(moment, path.cosines, count, **chosen)

    chosen = {"shrinkage": 0.25, "slowness": 0.0}
    given = {"shrinkage": shrinkage, "slowness": slowness}
    chosen |= {name: value for name, value in given.items() if value is not None}
    if valid is not None:
        captured, _ = _coefficient_moment(path, valid)
        for name, values in (("shrinkage", SHRINKAGES), ("slowness", SLOWNESSES)):
            if given[name] is None:
                candidates = [chosen | {name: value} for value in values]
                chosen = max(
                    candidates, key=lambda c: _variance(components(latents, **c), captured).sum()
                )
    kept = min(latents, path.components)
    mixing = components(path.components, **chosen)
    variances = _variance(mixing, moment)
    left = max(path.seq_len * path.channels - kept, 1)
    noise = max(total - variances[:kept].sum(), 0.0) / left
    noise = max(noise, LEAST_NOISE)
    fitted = {
        "channel_basis": channel_basis,
        "mixing": mixing,
        "variances": np.maximum(variances, 1.01 * noise),
        "noise": np.array(noise),
    }
    return {name: value.astype("float32") for name, value in fitted.items()}, chosen


def _filled(batches: Iterable[Array]) -> Iterator[Array]:
    return map(interpolated, batches)


def _second_moment(rows: Array) -> Array:
    rows = rows.astype("float64")
    return rows.T @ rows


def _coefficient_moment(
    path: LinearPath, windows: Callable[[], Iterable[Array]]
) -> tuple[Array, float]:
    """Mean outer product of the coefficients, and mean squared length of the windows."""
    channel_basis = ops.convert_to_numpy(path.channel_basis)
    moment: Any = 0.0
    total, count = 0.0, 0
    for x in _filled(windows()):
        coefficients = (path.time_basis @ (x @ channel_basis.T)).reshape(len(x), -1)
        moment = moment + _second_moment(coefficients)
        total += float(np.square(x, dtype="float64").sum())
        count += len(x)
    return moment / count, total / count


def _components(
    moment: Array, cosines: int, count: int, shrinkage: float, slowness: float
) -> Array:
    """The leading `count` eigenvectors of the moment, shrunk and made slower, `(count, F)`."""
    shrunk = (1 - shrinkage) * moment + shrinkage * np.diag(np.diag(moment))
    weights = (1.0 + np.arange(cosines)) ** (-slowness / 2)
    weights = np.repeat(weights, len(moment) // cosines)
    return np.linalg.eigh(weights[:, None] * shrunk * weights)[1][:, ::-1][:, :count].T


def _variance(components: Array, moment: Array) -> Array:
    """Of the scores on each component."""
    return np.einsum("mf,fg,mg->m", components, moment, components)
