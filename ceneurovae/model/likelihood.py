"""What the decoder's output means: how likely it makes what was recorded."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.config import VAEConfig
from ceneurovae.hints import JSON, Array, Shape, Tensor
from ceneurovae.model.fixed import fixed_weight
from ceneurovae.model.loss import (
    loss_bernoulli,
    loss_gaussian,
    loss_huber,
    loss_mse,
    loss_poisson,
    require_delta,
    require_reduction,
)
from ceneurovae.model.missing import split_missing
from ceneurovae.model.scaler import ChannelScaler

# Beyond these a float32 holds the rate, or the complement of the probability, no longer exactly.
LOG_RATE_LIMIT = 15.0
LOGIT_LIMIT = 10.0
# The noise level follows the squared error of the batches with this momentum.
NOISE_MOMENTUM = 0.98
LEAST_NOISE = 1e-6
LEAST_MEAN = 1e-4


@keras.saving.register_keras_serializable(package="ceneurovae")
class Likelihood(keras.layers.Layer):
    """Squared error, and what the likelihoods share.

    The decoder gives numbers in the units of the scaled data, `(B, T, C)`. `expectation` makes raw
    units of them, `loss` compares those with what was recorded, and `pull` says in which
    direction, and how firmly, the data pulls at the decoder's output.

    Args:
        reduction: `"sum"` or `"mean"` of the loss over the observed `(T, C)`.

    Raises:
        ValueError: if `reduction` is neither.
    """

    # Whether stretching in time and scaling leave data of the kind that it was.
    can_be_augmented = True
    # What values may be, and what those are called.
    lowest, highest, values = -math.inf, math.inf, "numbers"
    # Whether the loss is a negative log-likelihood in nats.
    in_nats = False

    def __init__(self, reduction: str = "sum", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_reduction(reduction)
        self.reduction = reduction

    def build(self, input_shape: Shape) -> None:
        self.channels = input_shape[-1]

    def expectation(self, scaled: Tensor, scaler: ChannelScaler) -> Tensor:
        """Decoder output -> expected values in raw units, `(B, T, C)`."""
        return scaler.inverse(scaled)

    def loss(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        """Loss of each window, `(B,)`, from raw values and expectations."""
        return loss_mse(scaler(x), scaler(expected), self.reduction)

    def pull(self, x: Tensor, scaled: Tensor, scaler: ChannelScaler) -> tuple[Tensor, Tensor]:
        """Minus the derivative of the loss by the decoder's output, and the expected curvature.

        Both `(B, T, C)`, and 0 where nothing was observed.
        """
        pull, curvature = self._pull_of_sum(x, scaled, scaler)
        if self.reduction == "sum":
            return pull, curvature
        count = ops.sum(split_missing(x)[1], axis=(1, 2), keepdims=True)
        count = ops.maximum(count, 1.0)
        return pull / count, curvature / count

    def _pull_of_sum(
        self, x: Tensor, scaled: Tensor, scaler: ChannelScaler
    ) -> tuple[Tensor, Tensor]:
        error, observed = self._error(x, scaled, scaler)
        return 2.0 * error, 2.0 * observed

    def deviance(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        """How far expectations are from the data, `(B,)`: 0 where they are the same.

        Squared errors, and what takes their place for counts and the rest: how much larger the
        loss is than that of the data itself (Nelder & Wedderburn, "Generalized linear models",
        1972).
        """
        return self.loss(x, expected, scaler) - self.loss(x, self.nearest(x), scaler)

    def nearest(self, x: Tensor) -> Tensor:
        """The expectation that is nearest to values `(..., C)`, which may be recorded ones."""
        return x

    def require(self, x: Array) -> None:
        """Raises a `ValueError` if NumPy values hold what the likelihood gives no probability."""
        for value in (np.nanmin(x, initial=0.0), np.nanmax(x, initial=0.0)):
            if not self.lowest <= value <= self.highest:
                raise ValueError(
                    f"The data holds {value:g}, but this likelihood is for {self.values}. Choose "
                    "another reconstruction_loss, or leave that channel out."
                )

    def begin(self, noise: Array) -> None:
        """Takes over the noise variance of the linear path; nothing, for those without one."""

    def follow(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> None:
        """Moves what is learned beside the weights towards a batch; nothing, for most."""

    def calibrate(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> None:
        """Sets the noise level to what held-out data shows; nothing, for those without one."""

    def _error(self, x: Tensor, scaled: Tensor, scaler: ChannelScaler) -> tuple[Tensor, Tensor]:
        y, observed = split_missing(scaler(x))
        return ops.where(observed > 0, y - scaled, 0.0), observed

    def get_config(self) -> JSON:
        return {**super().get_config(), "reduction": self.reduction}


@keras.saving.register_keras_serializable(package="ceneurovae")
class HuberLikelihood(Likelihood):
    """Huber loss; see `loss_huber`.

    Args:
        delta: Error above which the loss is linear, above 0.

    Raises:
        ValueError: if `delta` is not above 0.
    """

    def __init__(self, delta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_delta(delta)
        self.delta = delta

    def loss(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        return loss_huber(scaler(x), scaler(expected), self.delta, self.reduction)

    def _pull_of_sum(
        self, x: Tensor, scaled: Tensor, scaler: ChannelScaler
    ) -> tuple[Tensor, Tensor]:
        error, observed = self._error(x, scaled, scaler)
        # Iteratively reweighted least squares: errors in the linear part count for less.
        weight = observed * self.delta / ops.maximum(ops.abs(error), self.delta)
        return weight * error, weight

    def get_config(self) -> JSON:
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable(package="ceneurovae")
class GaussianLikelihood(Likelihood):
    """Normal noise whose level is learned, so that reconstruction and KL balance by themselves.

    For given reconstructions the best level is the mean squared error in closed form (Rybkin,
    Daniilidis & Levine, "Simple and effective VAE training with calibrated decoders", 2021, section
    3); it is followed as a running mean over batches.

    Args:
        noise: `"shared"` for one level for all channels, `"channel"` for one for each.
    """

    in_nats = True

    def __init__(self, noise: str = "shared", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.noise = noise

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.variance = fixed_weight(self, "variance", (self.channels,), "ones")

    def begin(self, noise: Array) -> None:
        self.variance.assign(np.full(self.channels, noise))

    @property
    def logvar(self) -> Tensor:
        """Logarithm of the noise variance of each channel, `(C,)`, in scaled units."""
        return ops.log(ops.maximum(self.variance, LEAST_NOISE))

    def loss(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        return loss_gaussian(scaler(x), scaler(expected), self.logvar, self.reduction)

    def _pull_of_sum(
        self, x: Tensor, scaled: Tensor, scaler: ChannelScaler
    ) -> tuple[Tensor, Tensor]:
        error, observed = self._error(x, scaled, scaler)
        precision = 1.0 / ops.maximum(self.variance, LEAST_NOISE)
        return precision * error, precision * observed

    def deviance(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        return loss_mse(scaler(x), scaler(expected), self.reduction)

    def follow(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> None:
        self.calibrate(x, expected, scaler, NOISE_MOMENTUM)

    def calibrate(
        self, x: Tensor, expected: Tensor, scaler: ChannelScaler, momentum: float = 0.0
    ) -> None:
        """Sets the noise level to the mean squared error of expectations, or moves it there."""
        error, observed = self._error(x, scaler(expected), scaler)
        axes = (0, 1) if self.noise == "channel" else (0, 1, 2)
        count = ops.sum(observed, axis=axes)
        mean = ops.sum(ops.square(error), axis=axes) / ops.maximum(count, 1.0)
        moved = momentum * self.variance + (1 - momentum) * mean
        self.variance.assign(ops.where(count > 0, moved, 1.0 * self.variance))

    def get_config(self) -> JSON:
        return {**super().get_config(), "noise": self.noise}


@keras.saving.register_keras_serializable(package="ceneurovae")
class PoissonLikelihood(Likelihood):
    """Counts; the decoder's output moves the logarithm of the rate.

    `log(rate) = log(mean) + output * std / mean`, with mean and standard deviation of the channel:
    near the mean rate, an output of 1 is one standard deviation, as it is for the encoder.
    """

    can_be_augmented = False
    lowest, values = 0.0, "counts, which are at least 0"
    in_nats = True

    def expectation(self, scaled: Tensor, scaler: ChannelScaler) -> Tensor:
        return ops.exp(self._log_rate(scaled, scaler))

    def _log_rate(self, scaled: Tensor, scaler: ChannelScaler) -> Tensor:
        mean = ops.maximum(scaler.mean, LEAST_MEAN)
        log_rate = ops.log(mean) + scaled * (scaler.std / mean)
        return ops.clip(log_rate, -LOG_RATE_LIMIT, LOG_RATE_LIMIT)

    def nearest(self, x: Tensor) -> Tensor:
        return ops.maximum(x, math.exp(-LOG_RATE_LIMIT))

    def loss(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        return loss_poisson(x, ops.log(expected), self.reduction)

    def _pull_of_sum(
        self, x: Tensor, scaled: Tensor, scaler: ChannelScaler
    ) -> tuple[Tensor, Tensor]:
        counts, observed = split_missing(x)
        slope = scaler.std / ops.maximum(scaler.mean, LEAST_MEAN)
        rate = self.expectation(scaled, scaler)
        return observed * slope * (counts - rate), observed * slope**2 * rate


@keras.saving.register_keras_serializable(package="ceneurovae")
class BernoulliLikelihood(Likelihood):
    """Zeros and ones; the decoder's output moves the logit of the probability of one.

    `logit(p) = logit(mean) + output / std`, so that near the mean an output of 1 is one standard
    deviation.
    """

    can_be_augmented = False
    lowest, highest, values = 0.0, 1.0, "zeros and ones"
    in_nats = True

    def expectation(self, scaled: Tensor, scaler: ChannelScaler) -> Tensor:
        mean = ops.clip(scaler.mean, LEAST_MEAN, 1 - LEAST_MEAN)
        logit = ops.log(mean) - ops.log1p(-mean) + scaled / scaler.std
        return ops.sigmoid(ops.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT))

    def nearest(self, x: Tensor) -> Tensor:
        least = 1 / (1 + math.exp(LOGIT_LIMIT))
        return ops.clip(x, least, 1 - least)

    def loss(self, x: Tensor, expected: Tensor, scaler: ChannelScaler) -> Tensor:
        logit = ops.log(expected) - ops.log1p(-expected)
        return loss_bernoulli(x, logit, self.reduction)

    def _pull_of_sum(
        self, x: Tensor, scaled: Tensor, scaler: ChannelScaler
    ) -> tuple[Tensor, Tensor]:
        values, observed = split_missing(x)
        probability = self.expectation(scaled, scaler)
        curvature = probability * (1 - probability) / ops.square(ops.convert_to_tensor(scaler.std))
        return observed * (values - probability) / scaler.std, observed * curvature


def make_likelihood(config: VAEConfig, **kwargs: Any) -> Likelihood:
    """The likelihood that the fields of a `VAEConfig` ask for."""
    kwargs["reduction"] = config.reduction
    if config.reconstruction_loss == "huber":
        return HuberLikelihood(config.huber_delta, **kwargs)
    if config.reconstruction_loss == "gaussian":
        return GaussianLikelihood(config.noise, **kwargs)
    kinds = {"mse": Likelihood, "poisson": PoissonLikelihood, "bernoulli": BernoulliLikelihood}
    return kinds[config.reconstruction_loss](**kwargs)
