"""What is minimised: reconstruction losses and the KL divergence, one value per example."""

import keras
from keras import ops


def _reduce(values, observed, reduction):
    """`(B, T, C)` -> `(B,)` over the observed entries; an example with none gives 0."""
    total = ops.sum(values, axis=(1, 2))
    if reduction == "sum":
        return total
    return total / ops.maximum(ops.sum(ops.cast(observed, total.dtype), axis=(1, 2)), 1.0)


def _error(y_true, y_pred):
    """`y_pred - y_true` in float32, 0 where `y_true` is missing, and what is observed."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    observed = ops.logical_not(ops.isnan(y_true))
    # The inner `where` keeps NaN out of the arithmetic, so that it cannot reach a gradient.
    error = y_pred - ops.where(observed, y_true, ops.zeros_like(y_true))
    return ops.where(observed, error, ops.zeros_like(error)), observed


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_mse(y_true, y_pred, reduction="sum"):
    """Squared error of each example, `sum((y_pred - y_true)^2)`.

    Args:
        y_true: `(B, T, C)`, NaN where nothing was observed.
        y_pred: `(B, T, C)`.
        reduction: `"sum"` or `"mean"` over the observed `(T, C)` entries.

    Returns:
        `(B,)`, float32.
    """
    error, observed = _error(y_true, y_pred)
    return _reduce(ops.square(error), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def loss_huber(y_true, y_pred, delta=1.0, reduction="sum"):
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
    """
    error, observed = _error(y_true, y_pred)
    size = ops.abs(error)
    inside = ops.minimum(size, delta)
    return _reduce(inside * (size - 0.5 * inside), observed, reduction)


@keras.saving.register_keras_serializable(package="ceneurovae")
def kl_divergence(mu, logvar):
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
class BatchMean(keras.losses.Loss):
    """Mean over the batch of values that are already one per example, `(B,) -> ()`.

    Going through `keras.losses.Loss` makes it the mean of the global batch when several
    devices share one.
    """

    def call(self, y_true, y_pred):
        return y_pred
