"""What is minimised: reconstruction losses and the KL divergence, one value per example."""

import keras
import numpy as np
from keras import ops

from ceneurovae.config import REDUCTIONS
from ceneurovae.hints import Tensor

# What is no tensor, and can be checked.
NUMBER = (int, float, np.integer, np.floating)
LOG_TWO_PI = float(np.log(2 * np.pi))
# Error from which the Huber loss is linear, in standard deviations of a channel.
HUBER_DELTA = 1.0
# Where Stirling's series takes over from the power series of the log-factorial.
STIRLING_FROM = 4.0
# 1 - Euler's gamma, then (-1)^k (zeta(k) - 1) / k for k = 2, 3, ..., 12.
LOG_FACTORIAL_SERIES = (
    0.42278433509846714,
    0.6449340668482264 / 2,
    -0.2020569031595943 / 3,
    0.0823232337111382 / 4,
    -0.0369277551433699 / 5,
    0.0173430619844491 / 6,
    -0.0083492773819228 / 7,
    0.0040773561979443 / 8,
    -0.0020083928260822 / 9,
    0.0009945751278181 / 10,
    -0.0004941886041195 / 11,
    0.0002460865533080 / 12,
)


def require_reduction(reduction: object) -> None:
    """Raises a `ValueError` unless `reduction` is `"sum"` or `"mean"`."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}.")


def require_delta(delta: object) -> None:
    """Raises a `ValueError` if the `delta` of a Huber loss is a number that is not above 0."""
    if isinstance(delta, NUMBER) and not delta > 0:
        raise ValueError(
            f"delta is {delta!r}, expected a number above 0, in the units of the values. "
            f"Use {HUBER_DELTA} for standardised ones."
        )


def _reduce(values: Tensor, observed: Tensor, reduction: str) -> Tensor:
    """`(B, T, C)` -> `(B,)` over the observed entries; an example with none gives 0."""
    require_reduction(reduction)
    total = ops.sum(ops.where(observed, values, ops.zeros_like(values)), axis=(1, 2))
    if reduction == "sum":
        return total
    return total / ops.maximum(ops.sum(ops.cast(observed, total.dtype), axis=(1, 2)), 1.0)


def _observed(y_true: Tensor, *predicted: Tensor) -> tuple[Tensor, ...]:
    """All in float32 and 0 where `y_true` is missing, then what is observed.

    Zeros before the arithmetic keep NaN and infinity out of it, so that they cannot reach a
    gradient; `_reduce` takes the result of the arithmetic on them out again.
    """
    given = [ops.cast(values, "float32") for values in (y_true, *predicted)]
    observed = ops.logical_not(ops.isnan(given[0]))
    return *(ops.where(observed, values, 0.0) for values in given), observed


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_mse(y_true: Tensor, y_pred: Tensor, reduction: str = "sum") -> Tensor:
    """Squared error of each example, `sum((y_pred - y_true)^2)`.

    Args:
        y_true: `(B, T, C)`, NaN where nothing was observed.
        y_pred: `(B, T, C)`.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: if `reduction` is neither.
    """
    y_true, y_pred, observed = _observed(y_true, y_pred)
    return _reduce(ops.square(y_pred - y_true), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_huber(
    y_true: Tensor, y_pred: Tensor, delta: float = HUBER_DELTA, reduction: str = "sum"
) -> Tensor:
    """Huber loss of each example: quadratic up to an error of `delta`, linear above.

    `0.5 * e^2` where `|e| <= delta`, else `delta * (|e| - 0.5 * delta)` (Huber, "Robust
    estimation of a location parameter", 1964). Use it where single samples are far off.

    Args:
        y_true: `(B, T, C)`, NaN where nothing was observed.
        y_pred: `(B, T, C)`.
        delta: Where the quadratic part ends, in the units of `y_true`; above 0.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: if `reduction` is neither, or `delta` a number that is not above 0.
    """
    require_delta(delta)
    y_true, y_pred, observed = _observed(y_true, y_pred)
    size = ops.abs(y_pred - y_true)
    inside = ops.minimum(size, delta)
    return _reduce(inside * (size - 0.5 * inside), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_gaussian(y_true: Tensor, y_pred: Tensor, logvar: Tensor, reduction: str = "sum") -> Tensor:
    """Negative log-likelihood of each example under `N(y_pred, exp(logvar))`, in nats.

    `0.5 * (log(2 pi) + logvar + e^2 / exp(logvar))` with `e = y_pred - y_true`, nothing left
    out. Use it where the level of the noise is learned, such as one per channel (Rybkin et al.,
    "Simple and effective VAE training with calibrated decoders", 2021).

    Args:
        y_true: `(B, T, C)`, NaN where nothing was observed.
        y_pred: `(B, T, C)`, the mean.
        logvar: Logarithm of the variance of the noise: `()`, `(C,)`, or anything else that
            broadcasts to `(B, T, C)`.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: if `reduction` is neither.
    """
    y_true, y_pred, logvar, observed = _observed(y_true, y_pred, logvar)
    scaled = (y_pred - y_true) * ops.exp(-0.5 * logvar)
    return _reduce(0.5 * (LOG_TWO_PI + logvar + ops.square(scaled)), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_poisson(y_true: Tensor, log_rate: Tensor, reduction: str = "sum") -> Tensor:
    """Negative log-likelihood of each example under a Poisson distribution, in nats.

    `exp(log_rate) - y * log_rate + log(y!)`, nothing left out. Use it for counts of spikes.

    From `y = 4` it is computed as `y * (exp(d) - 1 - d) + s`, `d = log_rate - log(y)`, where `s`
    is `log(y!) - y * log(y) + y`: at a count of 10,000 the formula above has terms of 90,000 nats,
    known to 0.01 in float32, of which 6 are left.

    Args:
        y_true: `(B, T, C)`, counts, 0 or above, NaN where nothing was observed.
        log_rate: `(B, T, C)`, logarithm of the expected count.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: if `reduction` is neither.
    """
    y, log_rate, observed = _observed(y_true, log_rate)
    large, below, above = _split_at_stirling(y)
    few = ops.exp(log_rate) - below * log_rate + _log_factorial_below(below)
    d = log_rate - ops.log(above)
    many = above * (ops.expm1(d) - d) + _stirling(above)
    return _reduce(ops.where(large, many, few), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_bernoulli(y_true: Tensor, logit: Tensor, reduction: str = "sum") -> Tensor:
    """Negative log-likelihood of each example under a Bernoulli distribution, in nats.

    `softplus(logit) - y * logit`, for what is or is not, such as a state of behaviour. It is
    computed as `y * softplus(-logit) + (1 - y) * softplus(logit)`, which is the same, but does
    not lose the loss of a sure and right `logit` to cancellation.

    Args:
        y_true: `(B, T, C)`, from 0 to 1, NaN where nothing was observed.
        logit: `(B, T, C)`, logarithm of the odds of 1.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: if `reduction` is neither.
    """
    y, logit, observed = _observed(y_true, logit)
    values = y * ops.softplus(-logit) + (1.0 - y) * ops.softplus(logit)
    return _reduce(values, observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def log_factorial(y: Tensor) -> Tensor:
    """`log(y!) = log(gamma(y + 1))`, to float32 precision for every real `y >= 0`.

    From `y = 4` Stirling's series (Abramowitz & Stegun, "Handbook of mathematical functions",
    1964, 6.1.41). Below, `y! = y (y - 1)!` brings `y` to within 0.5 of 1, where the power series
    around 1 (6.1.33) converges fast and is exactly 0 at `y = 1`.

    Args:
        y: Any shape, 0 or above.

    Returns:
        The same shape, float32.
    """
    large, below, above = _split_at_stirling(ops.cast(y, "float32"))
    stirling = above * (ops.log(above) - 1.0) + _stirling(above)
    return ops.where(large, stirling, _log_factorial_below(below))


def _split_at_stirling(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where `y` is large; `y` where it is not, else 0; `y` where it is, else the smallest such."""
    large = y >= STIRLING_FROM
    return large, ops.where(large, 0.0, y), ops.where(large, y, STIRLING_FROM)


def _stirling(y: Tensor) -> Tensor:
    """`log(y!) - y * (log(y) - 1)` for `y >= 4`; what is left out is below 4e-9."""
    inverse = 1.0 / y
    square = ops.square(inverse)
    tail = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))
    return 0.5 * (LOG_TWO_PI + ops.log(y)) + inverse * tail


def _log_factorial_below(y: Tensor) -> Tensor:
    """`log(y!)` for `0 <= y < 4`."""
    rest, product = y - 1.0, ops.ones_like(y)
    for _ in range(3):
        down = rest > 0.5
        product = ops.where(down, product * (rest + 1.0), product)
        rest = ops.where(down, rest - 1.0, rest)
    up = rest < -0.5
    rest = ops.where(up, y, rest)
    series = ops.zeros_like(y)
    for coefficient in reversed(LOG_FACTORIAL_SERIES):
        series = rest * (coefficient + series)
    return ops.log(product) + series - ops.log1p(ops.where(up, y, 0.0))


@keras.saving.register_keras_serializable(package="ceneurovae")
def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of `N(mu, exp(logvar))` from `N(0, 1)`, for each latent.

    `-0.5 * (1 + logvar - mu^2 - exp(logvar))` (Kingma & Welling, "Auto-encoding variational
    Bayes", 2014, appendix B). Never negative, and 0 at `mu = logvar = 0`.

    Args:
        mu: `(B, Z)`, posterior mean.
        logvar: `(B, Z)`, logarithm of the posterior variance.

    Returns:
        `(B, Z)` in nats, float32.
    """
    mu, logvar = ops.cast(mu, "float32"), ops.cast(logvar, "float32")
    return -0.5 * (1.0 + logvar - ops.square(mu) - ops.exp(logvar))


@keras.saving.register_keras_serializable(package="ceneurovae")
def kl_objective(kl: Tensor, free_bits: float = 0.0, capacity: Tensor = 0.0) -> Tensor:
    """What is minimised of the KL divergence: by default its sum over the latents.

    `free_bits` keeps latents from collapsing onto the prior: over a batch, latent `j` counts as
    `max(free_bits, mean_b kl[b, j])` (Kingma et al., "Improved variational inference with
    inverse autoregressive flow", 2016, equation 15). Below `free_bits` it is that constant and
    has no gradient. The mean over the batch of what is returned is the sum of these.

    `capacity` sets the information that the latents carry: `abs(sum_j kl[b, j] - capacity)`
    (Burgess et al., "Understanding disentangling in beta-VAE", 2018, equation 8), after
    `free_bits` where both are given.

    Args:
        kl: `(B, Z)` in nats, as from `kl_divergence`.
        free_bits: Nats for each latent, 0 or above; in nats in spite of the name.
        capacity: Nats for all latents of an example together, 0 or above. May be a tensor or a
            weight, to be raised while training.

    Returns:
        `(B,)` in nats, float32.

    Raises:
        ValueError: if `free_bits` or `capacity` is a number below 0.

    Example:

    >>> kl = np.array([[0.5, 3.0], [0.0, 2.0]], "float32")
    >>> [float(value) for value in kl_objective(kl)]
    [3.5, 2.0]
    >>> [float(value) for value in kl_objective(kl, free_bits=1.0)]
    [4.0, 3.0]
    >>> [float(value) for value in kl_objective(kl, capacity=3.0)]
    [0.5, 1.0]
    """
    for name, value, off in (
        ("free_bits", free_bits, "count the KL of every latent"),
        ("capacity", capacity, "have the KL as small as it gets"),
    ):
        if isinstance(value, NUMBER) and not value >= 0:
            raise ValueError(
                f"{name} is {value}, expected a number of nats, 0 or above. Use 0 to {off}."
            )
    kl = ops.cast(kl, "float32")
    if not _is_zero(free_bits):
        floor = ops.cast(free_bits, "float32")
        kl = ops.where(ops.mean(kl, axis=0) < floor, floor, kl)
    total = ops.sum(kl, axis=-1)
    return total if _is_zero(capacity) else ops.abs(total - ops.cast(capacity, "float32"))


def _is_zero(value: object) -> bool:
    """Whether it is a number and 0: a tensor or a weight may become something else."""
    return isinstance(value, NUMBER) and value == 0


@keras.saving.register_keras_serializable(package="ceneurovae")
class BatchMean(keras.losses.Loss):
    """Mean over the batch of values that are already one per example, `(B,) -> ()`.

    Going through `keras.losses.Loss` makes it the mean of the global batch when several
    devices share one.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred
