"""What the decoder leaves out of a window, as a normal distribution, and what it says of gaps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Array, Data, Shape, Tensor
from ceneurovae.model.fixed import fixed_weight
from ceneurovae.model.hidden_patterns import hide_pattern
from ceneurovae.model.linear_path import LinearPath, fit_subspace
from ceneurovae.model.missing import split_missing
from ceneurovae.model.scaler import some_windows

if TYPE_CHECKING:
    from ceneurovae.model.vae import NeuroBehaviorVAE

MOST_COMPONENTS = 64
# Windows whose covariances in time have more entries than this are too many for it.
MOST_ENTRIES = 2**22
# Share of a channel's variance that noise has at least, so that matrices can be factorised.
LEAST_NOISE = 1e-4
FIT_WINDOWS = 2000
# So many derivatives at a time.
SLOPES = 2**21
# Of validation windows so many that what they take to condition on stays within a second or so.
MOST_VALID_WINDOWS, LEAST_VALID_WINDOWS, VALID_ENTRIES = 64, 8, 2**23
# In the order in which they are chosen.
CHOICES: dict[str, tuple[float, ...]] = {
    "rank": (4, 16, 64),
    "drift": (0.0, 0.01, 0.1, 1.0),
    "stationary": (0.0, 0.5, 1.0),
    "shared": (0.0, 0.1, 0.5, 0.9, 0.97, 0.99),
}
# Ways to hide of which the length is to be given.
SPANS = ("spans", "end")
UNCHOSEN: JSON = {
    "network": 1,
    "rank": 64,
    "shared": 0.5,
    "stationary": 0.5,
    "drift": 0.01,
    "level": 1.0,
}


@keras.saving.register_keras_serializable(package="ceneurovae")
class ResidualGaussian(keras.layers.Layer):
    """Normal distribution of the residuals of windows `(T, C)`, and their conditional mean.

    The covariance is

        shared * L L' + blockdiag(own_c - shared * (L L')_c) + drift * (2 T - |t - s|)

    with `L` the leading principal components of the residuals, scaled by their deviations, and
    `own_c` the covariance in time of each channel. `shared` below 1 takes back what channels have
    in common by chance; `stationary` above 0 mixes into `own_c` one that depends on the time
    between two samples only, which takes less data to know; the `drift`, which each channel has by
    itself, is the linear variogram of a random walk, and where there is much of it the conditional
    mean of a gap is the straight line between its neighbours. So linear interpolation, a Gaussian
    process of each channel and a Gaussian of the whole window are all special cases (Rasmussen &
    Williams, "Gaussian processes for machine learning", 2006, equations 2.23 and 2.24).

    Its weights are not trained but set by `assign`; before that, it is white noise.

    Args:
        seq_len: Length `T` of a window.
        channels: Number `C` of channels.
    """

    def __init__(self, seq_len: int, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.channels = channels
        self.components = LinearPath(
            seq_len, channels, MOST_COMPONENTS, dtype="float32", name="components"
        )
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: Shape | None = None) -> None:
        self.components.build()
        shape = (self.channels, self.seq_len, self.seq_len)
        self.own = fixed_weight(self, "own", shape, _identities)
        self.shared = fixed_weight(self, "shared", (), "zeros")
        self.network = fixed_weight(self, "network", (), "ones")

    def assign(
        self,
        moments: tuple[dict[str, Array], Array],
        shared: float,
        stationary: float,
        drift: float,
        network: float = 1,
        rank: int = MOST_COMPONENTS,
        level: float = 1.0,
    ) -> None:
        """Takes over the covariance of residuals.

        Args:
            moments: Components as `fit_subspace` finds them, and covariances in time, `(C, T, T)`.
            shared: How much of the covariance between channels counts, from 0 to 1.
            stationary: How much of the covariance of a channel is stationary, from 0 to 1.
            drift: Variance of the steps of a random walk of each channel, in that of the channel.
            network: Whether these are the residuals of the decoder (1), or of the mean alone (0).
            rank: How many leading components count.
            level: What the covariance is multiplied by.
        """
        fitted, covariances = moments
        counts = np.arange(len(fitted["variances"])) < rank
        fitted = {**fitted, "variances": np.where(counts, fitted["variances"], 0.0)}
        self.network.assign(network)
        self.components.assign(fitted)
        self.shared.assign(shared)
        loadings = ops.convert_to_numpy(self.loadings()).astype("float64")
        in_common = np.einsum("ctm,csm->cts", loadings, loadings)
        apart = np.abs(np.subtract.outer(np.arange(self.seq_len), np.arange(self.seq_len)))
        walk = drift * (2.0 * self.seq_len - apart)
        variances = _variances(covariances)
        means = [np.diagonal(covariances, n, 1, 2).mean(axis=1) for n in range(self.seq_len)]
        covariances = covariances + stationary * (np.stack(means, axis=1)[:, apart] - covariances)
        self.components.variances.assign(level * fitted["variances"])
        self.own.assign(level * (_positive(covariances - in_common) + variances * walk))

    def whiten(self, variance: Array) -> None:
        """Makes it white noise again.

        Args:
            variance: That of the noise, in scaled units.
        """
        self.shared.assign(0.0)
        self.own.assign(float(variance) * _identities(self.own.shape, "float32"))

    def reseed(self, seed: int) -> None:
        """Makes the next draws a function of a seed.

        Args:
            seed: Whole number.
        """
        fresh = keras.random.SeedGenerator(seed)
        self.seed_generator.state.assign(fresh.state)

    def loadings(self) -> Tensor:
        """`(C, T, M)`: the components, scaled by their share in the deviations."""
        deviations = ops.sqrt(self.shared * ops.convert_to_tensor(self.components.variances))
        # Not `diag`, whose static shape Keras 3.12 loses on TensorFlow.
        windows = self.components.inverse(deviations * ops.eye(deviations.shape[0]))
        return ops.transpose(windows, (2, 1, 0))

    def condition(
        self, residual: Tensor, slopes: Tensor, draws: int = 0, rank: int = MOST_COMPONENTS
    ) -> Tensor:
        """Conditional mean of residuals, given those that were observed, and draws.

        What is observed is `J z + r`, with `z` normal with variance 1 and `r` of this distribution;
        the mean is that of the sum. Draws are made from the joint distribution and shifted by the
        conditional mean of the difference (Wilson et al., "Pathwise conditioning of Gaussian
        processes", 2021, equation 3).

        Args:
            residual: `(B, T, C)`, NaN where missing, in scaled units.
            slopes: `J`, `(B, T, C, Z)`.
            draws: How many draws to make.
            rank: How many leading components to use: those that count, at least.

        Returns:
            `(B, T, C, 1 + draws)`, the mean first; where something was observed, it.
        """
        value, observed = split_missing(residual)
        joint = ops.zeros_like(value)[..., None]
        columns = self._columns(slopes, rank)
        if draws:
            joint = ops.concatenate([joint, self._joint(columns, draws)], axis=-1)
        return joint + self._conditional(value[..., None] - joint, observed, columns)

    def _joint(self, columns: Tensor, draws: int) -> Tensor:
        """Draws of whole windows, `(B, T, C, draws)`."""
        batch, size = ops.shape(columns)[0], columns.shape[-1]
        causes = keras.random.normal((batch, 1, size, draws), seed=self.seed_generator)
        shape = (batch, self.channels, self.seq_len, draws)
        noise = keras.random.normal(shape, seed=self.seed_generator)
        drawn = ops.matmul(columns, causes) + ops.matmul(ops.cholesky(self.own), noise)
        return ops.transpose(drawn, (0, 2, 1, 3))

    def _columns(self, slopes: Tensor, rank: int) -> Tensor:
        """`(B, C, T, Z + M)`: how everything that channels share moves a window."""
        slopes = ops.transpose(slopes, (0, 2, 1, 3))
        loadings = self.loadings()[..., :rank]
        loadings = ops.broadcast_to(loadings[None], (ops.shape(slopes)[0], *loadings.shape))
        return ops.concatenate([slopes, loadings], axis=-1)

    def _conditional(self, values: Tensor, observed: Tensor, columns: Tensor) -> Tensor:
        """`(B, T, C, n)` of as many right-hand sides `values`, which count where `observed`."""
        seen = ops.transpose(observed, (0, 2, 1))[..., None]
        values = seen * ops.transpose(values, (0, 2, 1, 3))
        size, count = columns.shape[-1], values.shape[-1]
        # A missing sample is one that depends on nothing: 1 on the diagonal, 0 beside it.
        both = seen * ops.swapaxes(seen, -1, -2)
        own = both * self.own + (1.0 - seen) * ops.eye(self.seq_len, dtype="float32")
        factor = ops.cholesky(own)
        right = ops.concatenate([seen * columns, values], axis=-1)
        half = ops.solve_triangular(factor, right, lower=True)
        flat = ops.reshape(half, (-1, self.channels * self.seq_len, size + count))
        flat, target = flat[..., :size], flat[..., size:]
        transposed = ops.swapaxes(flat, -1, -2)
        matrix = ops.matmul(transposed, flat) + ops.eye(size, dtype="float32")
        causes = ops.solve(matrix, ops.matmul(transposed, target))[:, None]
        left = half[..., size:] - ops.matmul(half[..., :size], causes)
        weights = ops.solve_triangular(ops.swapaxes(factor, -1, -2), left, lower=False)
        mean = ops.matmul(columns, causes) + ops.matmul(ops.convert_to_tensor(self.own), weights)
        return ops.transpose(mean, (0, 2, 1, 3))

    def get_config(self) -> JSON:
        return {**super().get_config(), "seq_len": self.seq_len, "channels": self.channels}


def fit_residual(
    model: "NeuroBehaviorVAE", data: Data, valid: Data = None, choices: JSON | None = None
) -> JSON:
    """Fits the `ResidualGaussian` of a trained model.

    Args:
        model: `NeuroBehaviorVAE`.
        data: Training data.
        valid: Validation data. Of its windows entries, spans of a quarter in each channel, the
            last quarter and some channels are hidden, and the choices are made for the least
            geometric mean of the four squared errors: `rank` (4, 16, 64), `drift` (0, .01, .1, 1),
            `stationary` (0, .5, 1) and `shared` (0 to .99) in turn, all for each `network` (0, 1).
        choices: They, if they are not to be made.

    Returns:
        The choices: `network`, whether imputation uses the decoder, or takes what the linear path
        has at `z = 0` for the mean, and all that windows do about it for residuals, so that
        `shared` shrinks all that channels have in common; `rank`, `shared`, `stationary` and
        `drift`; and `level`, how much larger squared residuals are in the validation data than in
        the training data.
    """
    if choices is None:
        choices = UNCHOSEN if valid is None else _choose(model, data, valid)
    model.residual.network.assign(choices["network"])
    moments = _moments(model.residual, _residuals(model, data, FIT_WINDOWS))
    model.residual.assign(moments, **choices)
    return choices


def _residuals(model: "NeuroBehaviorVAE", data: Data, most: int) -> Array:
    """Of the most probable latents, on the decoder as imputation uses it, `(N, T, C)`."""
    noise = float(ops.convert_to_numpy(model.decoder.linear.noise))
    entries = model.residual.channels * model.residual.seq_len * model.config.latent_dim
    parts = []
    for x in some_windows(data, most, size=int(np.clip(SLOPES // entries, 1, most))):
        origin, slopes = _linearised(model, x)
        residual = model.scaler.as_numpy(x) - origin
        if not slopes.shape[-1]:
            parts.append(residual)
            continue
        seen = ~np.isnan(residual)
        rows = (slopes * seen[..., None]).reshape(len(x), -1, slopes.shape[-1])
        columns, target = rows.swapaxes(1, 2), np.where(seen, residual, 0).reshape(len(x), -1, 1)
        z = np.linalg.solve(columns @ rows + noise * np.eye(rows.shape[-1]), columns @ target)
        parts.append(residual - (slopes @ z[:, None])[..., 0])
    return np.concatenate(parts).astype("float32")


def _linearised(model: "NeuroBehaviorVAE", x: Array) -> tuple[Array, Array]:
    """`linearise`; without the network it is the same for all windows, and there are no slopes."""
    if float(ops.convert_to_numpy(model.residual.network)):
        return model.linearise(x)
    scaled = model.decoder(ops.zeros((1, model.config.latent_dim)), share=0.0)
    origin = model.scaler(model.likelihood.expectation(scaled, model.scaler))
    origin = ops.convert_to_numpy(origin)
    return np.broadcast_to(origin, x.shape), np.zeros((*x.shape, 0), "float32")


def _moments(layer: ResidualGaussian, residuals: Array) -> tuple[dict[str, Array], Array]:
    """Their components, as of `fit_subspace`, and the covariance in time of each channel."""
    fitted, _ = fit_subspace(layer.components, lambda: [residuals], MOST_COMPONENTS, shrinkage=0.0)
    observed = ~np.isnan(residuals)
    values, seen = np.where(observed, residuals, 0).transpose(2, 1, 0), observed.transpose(2, 1, 0)
    seen = seen.astype("float32")
    counts = np.matmul(seen, seen.swapaxes(1, 2))
    products = np.matmul(values, values.swapaxes(1, 2)).astype("float64")
    return fitted, products / np.maximum(counts, 1)


def _choose(model: "NeuroBehaviorVAE", data: Data, valid: Data) -> JSON:
    """The choices for which what is hidden in validation windows is filled in best."""
    layer = model.residual
    most = VALID_ENTRIES // (layer.channels * layer.seq_len**2)
    most = int(np.clip(most, LEAST_VALID_WINDOWS, MOST_VALID_WINDOWS))
    windows = np.concatenate(list(some_windows(valid, most)))
    kinds = ("entries", "spans", "end", "channels")[: 3 if layer.channels == 1 else 4]
    has_network = float(ops.convert_to_numpy(model.decoder.gain)) > 0
    found = []
    for network in (1, 0) if has_network else (0,):
        layer.network.assign(network)
        residuals = _residuals(model, data, FIT_WINDOWS)
        moments = _moments(layer, residuals)
        spread = np.nanmean(np.square(_residuals(model, windows, most)))
        level = float(spread / np.nanmean(np.square(residuals)))
        tasks = _Tasks(model, windows, kinds)

        best = {**UNCHOSEN, "network": network, "level": level}
        errors: dict[tuple[float, ...], float] = {}
        for name, values in CHOICES.items():
            for choices in ({**best, name: value} for value in values):
                key = tuple(choices.values())
                if key not in errors:
                    layer.assign(moments, **choices)
                    errors[key] = tasks.log_error(int(choices["rank"]))
            least = min(errors, key=errors.__getitem__)
            best = dict(zip(best, least, strict=True))
        found.append((min(errors.values()), best))
    return min(found, key=lambda pair: pair[0])[1]


class _Tasks:
    """Validation windows with entries hidden in several ways, encoded once for all choices."""

    def __init__(self, model: "NeuroBehaviorVAE", windows: Array, kinds: Sequence[str]) -> None:
        self.layer, self.size = model.residual, len(windows)
        self.fillings: dict[int, _Filling] = {}
        span = max(1, windows.shape[1] // 4)
        hidden = np.concatenate(
            [
                hide_pattern(windows.shape, kind, **{"span": span} if kind in SPANS else {})
                for kind in kinds
            ]
        )
        windows = np.concatenate([windows] * len(kinds))
        target = model.scaler.as_numpy(windows)
        origin, slopes = _linearised(model, np.where(hidden, np.nan, windows))
        self.target = np.where(hidden, target, np.nan) - origin
        residual = np.where(hidden, np.nan, target - origin).astype("float32")
        self.given = {"residual": residual, "slopes": slopes}

    def log_error(self, rank: int) -> float:
        """Logarithm of the mean squared error of what was hidden, summed over the ways."""
        if rank not in self.fillings:
            self.fillings[rank] = _Filling(self.layer, rank)
        filled = self.fillings[rank].predict(self.given, batch_size=self.size, verbose=0)
        errors = np.square(filled[..., 0] - self.target).reshape(-1, self.size, *filled.shape[1:3])
        return float(np.log(np.nanmean(errors, axis=(1, 2, 3))).sum())


class _Filling(keras.Model):
    """`ResidualGaussian.condition` with so many components, to `predict` with: compiled."""

    def __init__(self, layer: ResidualGaussian, rank: int) -> None:
        super().__init__(name="filling")
        self.layer, self.rank = layer, rank
        self.built = True

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.layer.condition(inputs["residual"], inputs["slopes"], rank=self.rank)


def _positive(matrices: Array) -> Array:
    """The matrices with eigenvalues of at least a share of the mean variance."""
    values, vectors = np.linalg.eigh(matrices)
    values = np.maximum(values, LEAST_NOISE * np.maximum(_variances(matrices)[:, 0], LEAST_NOISE))
    return (vectors * values[:, None]) @ vectors.swapaxes(1, 2)


def _variances(matrices: Array) -> Array:
    """Mean of the diagonal of each, `(C, 1, 1)`."""
    return np.trace(matrices, axis1=1, axis2=2)[:, None, None] / matrices.shape[1]


def _identities(shape: Shape, dtype: Any) -> Tensor:
    return ops.zeros(shape, dtype) + ops.eye(shape[-1], dtype=dtype)
