"""The variational autoencoder: raw units and NaN in, raw units out."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, NamedTuple, Self

import keras
import numpy as np
from keras import ops

from ceneurovae.config import VAEConfig
from ceneurovae.hints import JSON, Array, Data, Shape, Tensor
from ceneurovae.model.augmentation import Augmentation
from ceneurovae.model.decoder import Decoder
from ceneurovae.model.encoder import Encoder
from ceneurovae.model.hiding import Hiding
from ceneurovae.model.likelihood import GaussianLikelihood, make_likelihood
from ceneurovae.model.linear_path import fit_subspace
from ceneurovae.model.loss import BatchMean, kl_divergence, kl_objective
from ceneurovae.model.metrics import ELBOParts
from ceneurovae.model.missing import MissingDataModel, fold_mask, interpolate
from ceneurovae.model.precision import in_bfloat16
from ceneurovae.model.refine import REFINE, refine_posterior, slopes
from ceneurovae.model.residual import MOST_ENTRIES, ResidualGaussian, fit_residual
from ceneurovae.model.sampling import Sampling
from ceneurovae.model.scaler import ChannelScaler, iterate_batches, some_windows


class VAEOutput(NamedTuple):
    """What a forward pass gives.

    Args:
        reconstruction: `(B, T, C)`, raw units.
        mu: `(B, Z)`, mean of the posterior.
        logvar: `(B, Z)`, logarithm of its variance.
    """

    reconstruction: Tensor
    mu: Tensor
    logvar: Tensor


class TrainingOutput(NamedTuple):
    """A `VAEOutput`, and the `target` `(B, T, C)` that the window became in training."""

    reconstruction: Tensor
    mu: Tensor
    logvar: Tensor
    target: Tensor


class Posterior(NamedTuple):
    """What `encode` gives: `mu` and `logvar`, each `(N, Z)`."""

    mu: Tensor
    logvar: Tensor


@keras.saving.register_keras_serializable(package="ceneurovae")
class NeuroBehaviorVAE(MissingDataModel):
    """Variational autoencoder of windows of neural activity and behaviour.

    A window `x` is standardised per channel, encoded to a Gaussian posterior over the latents,
    and decoded back to raw units (Kingma & Welling, "Auto-encoding variational Bayes", 2014).
    NaN in `x` means missing: it is not reconstructed to, not counted in any loss, and the
    encoder knows where it is. `(x, mask)` is accepted wherever `x` is.

    The loss of a window is `reconstruction + kl_weight * kl`. `kl_weight` is a non-trainable
    weight of the model, 1 unless `KLAnnealing` moves it. Where the attribute `mixed_precision` is
    true when it is compiled, training steps compute the networks in bfloat16, and all else, losses
    among it, in float32.

    Args:
        config: `VAEConfig`.

    Input shape:
        `(B, T, C)`, raw units.

    Output shape:
        `VAEOutput`: `reconstruction` `(B, T, C)`, `mu` `(B, Z)`, `logvar` `(B, Z)`. With
        `training=True` a latent is drawn from the posterior, otherwise it is `mu`.

    Raises:
        ValueError: if the data does not have the shape the config says.

    Example:

    >>> model = NeuroBehaviorVAE(VAEConfig(seq_len=20, latent_dim=2, hidden_dim=8))
    >>> x = np.random.default_rng(0).normal(size=(16, 20, 3)).astype("float32")
    >>> model.adapt(x)
    >>> model.compile(optimizer="adam")
    >>> history = model.fit(x, verbose=0)
    >>> model.encode(x).mu.shape
    (16, 2)
    """

    def __init__(self, config: VAEConfig, **kwargs: Any) -> None:
        # Raw units may not fit the range of half precision: the layers cast, after scaling.
        super().__init__(autocast=False, **kwargs)
        if not isinstance(config, VAEConfig):
            raise ValueError(f"config is a {type(config).__name__}, expected a VAEConfig.")
        self.config = config
        self.subspace: JSON = {}
        self.mixed_precision = False
        self.kl_weight = self.add_weight(
            shape=(), initializer="ones", trainable=False, dtype="float32", name="kl_weight"
        )
        self.scaler = ChannelScaler(
            config.scale, config.channel_groups, dtype="float32", name="scaler"
        )
        self.likelihood = make_likelihood(config, dtype="float32", name="likelihood")
        self.augmentation: Augmentation | None = None
        self.hiding: Hiding | None = None
        if config.augment and self.likelihood.can_be_augmented:
            self.augmentation = Augmentation(dtype="float32", name="augmentation")
        if config.hide:
            self.hiding = Hiding(
                config.hide, config.hide_share, config.channel_groups, dtype="float32"
            )
        self.sampling = Sampling(dtype="float32", name="sampling")
        self.encoder = Encoder(config.latent_dim, **self._network_settings(), name="encoder")
        self.decoder: Any = None  # a `Decoder`, once the channels are known
        self.residual: Any = None  # a `ResidualGaussian`, unless windows are too large for it
        self.elbo_parts = ELBOParts(config.latent_dim)
        self.batch_mean = BatchMean()
        if config.channels is not None:
            self.build((None, config.seq_len, config.channels))

    def _network_settings(self) -> JSON:
        config = self.config
        return {
            "hidden_dim": config.hidden_dim,
            "num_layers": config.num_layers,
            "dropout": config.dropout,
            "backbone": config.backbone,
            "num_heads": config.num_heads,
            "positional_encoding": config.positional_encoding,
            "dtype": self.dtype_policy,
        }

    def build(self, input_shape: Shape) -> None:
        self._check_window(input_shape)
        batch, steps, channels = input_shape
        self.decoder = Decoder(steps, channels, **self._network_settings(), name="decoder")
        self.scaler.build(input_shape)
        self.likelihood.build(input_shape)
        self.encoder.build(input_shape)
        self.decoder.build((batch, self.config.latent_dim))
        if channels * steps**2 <= MOST_ENTRIES:
            self.residual = ResidualGaussian(steps, channels, dtype="float32", name="residual")
            self.residual.build()

    def _check_window(self, shape: Shape) -> None:
        expected = (self.config.seq_len, self.config.channels)
        fits = len(shape) == 3 and all(
            want in (None, got) for want, got in zip(expected, shape[1:], strict=True)
        )
        if not fits:
            steps, channels = (("C" if n is None else n) for n in expected)
            raise ValueError(
                f"Received data of shape {tuple(shape)}, expected (B, {steps}, {channels}). "
                "Give windows of that shape, or set seq_len and channels in the VAEConfig."
            )

    def train_step(self, *args: Any) -> Any:
        if not self.mixed_precision:
            return super().train_step(*args)
        with in_bfloat16(self.encoder.network, self.decoder.network):
            return super().train_step(*args)

    def _input_and_target(self, batch: Data, training: bool = False) -> tuple[Any, Any, Any]:
        x, y, sample_weight = super()._input_and_target(batch)
        # What is shown and what is asked for are drawn in `call`: JAX keeps random state for it.
        return ({"window": x} if training else x), y, sample_weight

    def call(self, inputs: Any, training: bool = False) -> VAEOutput | TrainingOutput:
        from_step = isinstance(inputs, dict)
        x = target = fold_mask(inputs["window"] if from_step else inputs)
        self._check_window(x.shape)
        y = self.scaler(x)
        if from_step:
            if self.augmentation is not None:
                y = self.augmentation(y, training=training)
                target = self.scaler.inverse(y)
            if self.hiding is not None:
                y = self.hiding(y, training=training)
        mu, logvar = self.encoder(y, training=training)
        if training:
            z = self.sampling((mu, logvar))
        else:
            mu, logvar = self._refined(x, mu, logvar)
            z = mu
        reconstruction = self._expectation(z, training)
        if from_step:
            return TrainingOutput(reconstruction, mu, logvar, target)
        return VAEOutput(reconstruction, mu, logvar)

    def _refined(self, x: Tensor, mu: Tensor, logvar: Tensor, further: int = 0) -> Posterior:
        """The `Posterior` after the steps that are part of encoding, and further ones."""
        steps = self.config.encoder_steps + further
        return Posterior(*refine_posterior(self, x, mu, logvar, steps))

    def _expectation(self, z: Tensor, training: bool = False, share: Tensor = 1.0) -> Tensor:
        """Latents -> expected values in raw units."""
        scaled = ops.cast(self.decoder(z, training=training, share=share), "float32")
        return self.likelihood.expectation(scaled, self.scaler)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Mean over the batch of `reconstruction + kl_weight * kl`; updates the metrics.

        `kl` is that of `kl_objective`, with the free bits and the capacity of the config.

        Args:
            x: `(B, T, C)`, what the model was given.
            y: `(B, T, C)`, what it is to reconstruct; `None` means `x`.
            y_pred: `VAEOutput` or `TrainingOutput`.
            sample_weight: `(B,)` or `None`.
        """
        if isinstance(y_pred, TrainingOutput):
            y = y_pred.target
        y = x if y is None else y
        reconstruction, kl = self.losses_of(y, y_pred)
        self.elbo_parts.update_state(reconstruction, kl, y_pred.mu, sample_weight)
        if training:
            self.likelihood.follow(y, ops.stop_gradient(y_pred.reconstruction), self.scaler)
        kl = kl_objective(kl, self.config.free_bits, self.config.capacity)
        objective = reconstruction + self.kl_weight * kl
        return self.batch_mean(objective, objective, sample_weight)

    def losses_of(self, x: Tensor, output: VAEOutput | TrainingOutput) -> tuple[Tensor, Tensor]:
        """Reconstruction loss `(B,)` of each window, and KL divergence `(B, Z)` of each latent.

        Args:
            x: `(B, T, C)` in raw units.
            output: The `VAEOutput`.
        """
        reconstruction = self.likelihood.loss(x, output.reconstruction, self.scaler)
        return reconstruction, kl_divergence(output.mu, output.logvar)

    def adapt(
        self,
        data: Data,
        valid: Data = None,
        shrinkage: float | None = None,
        slowness: float | None = None,
        scaler: ChannelScaler | None = None,
    ) -> None:
        """Fits scaler, linear path and noise level to training data.

        Args:
            data: Arrays `(N, T, C)`, `(x, mask)`, or a dataset of batches.
            valid: Validation data, likewise, on which shrinkage and slowness of the linear path are
                chosen; the attribute `subspace`, a dictionary, tells them afterwards.
            shrinkage, slowness: They, if they are not to be chosen; see `fit_subspace`.
            scaler: `ChannelScaler` to take over, if the scaler is not to be fitted.

        Raises:
            ValueError: if a channel is missing throughout, the shape is not that of a window, or
                the likelihood is not for such values.
        """
        if not self.built:
            first = next(iterate_batches(data))
            self.build((None, *first.shape[1:]))
        for x in some_windows(data):
            self.likelihood.require(x)
        if scaler is None:
            self.scaler.adapt(data)
        else:
            self.scaler.set_weights(scaler.get_weights())

        def scaled(data: Data) -> Callable[[], Iterable[Array]]:
            return lambda: map(self.scaler.as_numpy, some_windows(data))

        fitted, self.subspace = fit_subspace(
            self.encoder.linear,
            scaled(data),
            self.config.latent_dim,
            None if valid is None else scaled(valid),
            shrinkage,
            slowness,
        )
        self.encoder.linear.assign(fitted)
        self.decoder.linear.assign(fitted)
        self.likelihood.begin(fitted["noise"])
        if self.residual is not None:
            self.residual.whiten(fitted["noise"])

    def adapt_residual(
        self, data: Data, valid: Data = None, choices: JSON | None = None
    ) -> JSON | None:
        """Fits what `impute` knows of the residuals, once the model is trained; `train` does so.

        Args:
            data: Training data, as for `adapt`. Of more than 2000 windows, 2000 evenly spaced ones
                are used.
            valid: Validation data, likewise, on which the choices are made.
            choices: They, if they are not to be made; see `fit_residual`.

        Returns:
            The choices, a dictionary of JSON types; `None` for windows so large that `impute`
            interpolates the residuals.
        """
        self._require_built()
        return None if self.residual is None else fit_residual(self, data, valid, choices)

    @property
    def adapted(self) -> bool:
        """Whether the scaler knows the data, from `adapt` or from a saved model."""
        return self.scaler.adapted

    # Bound methods, because Keras would save a model that it finds among the attributes.
    @cached_property
    def _predict_window(self) -> Callable[..., Any]:
        return _Path(self, self._expectation).predict

    def _predictor(self, refine: int, name: str, *arguments: Any) -> Callable[..., Any]:
        """`predict` of a method of a window, its posterior refined in so many steps, and more."""

        def call(x: Data) -> Any:
            return self._along(fold_mask(x), refine, name, *arguments)

        key = (refine, name, *arguments)
        if key not in self._predictors:
            self._predictors[key] = _Path(self, call).predict
        return self._predictors[key]

    def _along(self, x: Tensor, refine: int, name: str, *arguments: Any) -> Any:
        """A method of a window `x` and its posterior, refined in so many further steps."""
        self._check_window(x.shape)
        mu, logvar = self.encoder(self.scaler(x))
        posterior = self._refined(x, mu, logvar, refine)
        return getattr(self, name)(x, posterior, *arguments)

    def functions(self) -> dict[str, Callable[[Tensor], dict[str, Tensor]]]:
        """What a method computes, as a function of one tensor, to be exported.

        Returns:
            Dictionary from `"encode"`, `"decode"`, `"reconstruct"` and `"impute"` to functions of a
            float32 tensor, `z` for `decode` and else `x`, that give dictionaries of named tensors.
            They compute what the methods do by default.
        """
        self._require_built()
        steps = self._steps_to_impute(REFINE)
        return {
            "encode": lambda x: self._along(x, 0, "_posterior")._asdict(),
            "decode": lambda z: {"reconstruction": self._expectation(z)},
            "reconstruct": lambda x: {"reconstruction": self._along(x, 0, "_reconstruction")},
            "impute": lambda x: {"imputed": self._along(x, steps, "_filled", 0)[..., 0]},
        }

    @cached_property
    def _predictors(self) -> dict[tuple[Any, ...], Callable[..., Any]]:
        return {}

    def encode(self, x: Data, batch_size: int | None = None, refine: int = 0) -> Posterior:
        """Posterior of the latents of each window.

        Args:
            x: `(N, T, C)` raw units with NaN for missing, `(x, mask)`, or a dataset of batches.
            batch_size: Windows at a time, where `x` is an array.
            refine: Further steps in which the posterior is improved on the decoder, at most; 0 for
                the encoder, with the steps that are part of it. See `refine_posterior`.

        Returns:
            `Posterior(mu, logvar)`, NumPy arrays `(N, Z)`.
        """
        return self._predict(x, batch_size, refine, "_posterior")

    def reconstruct(self, x: Data, batch_size: int | None = None, refine: int = 0) -> Array:
        """Windows `(N, T, C)` in raw units, as NumPy, decoded from the means of `encode`.

        Args:
            x, batch_size, refine: As for `encode`.
        """
        return self._predict(x, batch_size, refine, "_reconstruction")

    def impute(
        self,
        x: Data,
        num_samples: int | None = None,
        batch_size: int | None = None,
        refine: int = REFINE,
        seed: int | None = None,
    ) -> Array:
        """Windows with every NaN filled in, and what was observed left as it is.

        What is missing gets its conditional mean, given what was observed: that of the decoder,
        linear about the refined latents, plus that of the residuals, whose correlations in time and
        between channels `adapt_residual` found. A channel or group of channels, the end of the
        window, or any entries may be missing.

        Args:
            x: `(N, T, C)` raw units with NaN for missing, `(x, mask)`, or a dataset of batches.
            num_samples: With the Gaussian likelihood: how many draws to make instead of the mean,
                from the distribution of what would have been recorded, noise included.
            batch_size: Windows at a time, where `x` is an array.
            refine: Steps in which the latents are improved on the decoder.
            seed: Decides the draws.

        Returns:
            `(N, T, C)`, or draws `(num_samples, N, T, C)`, as NumPy. The 5 % and 95 % quantiles of
            the draws are the ends of 90 % intervals.

        Raises:
            ValueError: if draws are asked for and the likelihood is not Gaussian, or the window too
                large for `ResidualGaussian`.
        """
        if num_samples is None:
            return self.imputations(x, 0, batch_size, refine)[0]
        return self.imputations(x, num_samples, batch_size, refine, seed)[1:]

    @property
    def can_draw(self) -> bool:
        """Whether `impute` can make draws: it knows how what it leaves out is distributed."""
        return self.residual is not None and isinstance(self.likelihood, GaussianLikelihood)

    def imputations(
        self,
        x: Data,
        num_samples: int,
        batch_size: int | None = None,
        refine: int = REFINE,
        seed: int | None = None,
    ) -> Array:
        """Mean and draws of `impute` in one pass: `(1 + num_samples, N, T, C)`, the mean first.

        Args:
            x, num_samples, batch_size, refine, seed: As for `impute`; 0 for no draws.
        """
        if num_samples and not self.can_draw:
            raise ValueError(
                "Draws need reconstruction_loss='gaussian' and a window of at most "
                f"{MOST_ENTRIES} pairs of samples, C * T * T. Leave num_samples out."
            )
        if num_samples and seed is not None:
            self.residual.reseed(seed)
        if batch_size is None and self.residual is not None:
            columns = self.residual.components.components + self.residual.seq_len + num_samples
            batch_size = self._windows_at_once(2**22, columns)
        refine = self._steps_to_impute(refine)
        return np.moveaxis(self._predict(x, batch_size, refine, "_filled", num_samples), -1, 0)

    def _steps_to_impute(self, refine: int) -> int:
        """So many, or none where what is imputed does not depend on the latents."""
        flat = self.residual is not None and not float(ops.convert_to_numpy(self.residual.network))
        return 0 if flat else refine

    def linearise(
        self, x: Data, batch_size: int | None = None, refine: int = REFINE
    ) -> tuple[Array, Array]:
        """The decoder about the refined latents of windows, as a straight line, for imputation.

        Where imputation does without the network (see `fit_residual`), it is flat: what the linear
        path has at `z = 0`.

        Args:
            x, batch_size, refine: As for `encode`.

        Returns:
            `(origin, slopes)`: `(N, T, C)`, the scaled window where it meets `z = 0`, and
            `(N, T, C, Z)`, its derivatives.
        """
        return self._predict(x, batch_size, self._steps_to_impute(refine), "_linearised")

    def _posterior(self, x: Tensor, posterior: Posterior) -> Posterior:
        return posterior

    def _reconstruction(self, x: Tensor, posterior: Posterior) -> Tensor:
        return self._expectation(posterior.mu)

    def _linearised(self, x: Tensor, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Scaled window at `z = 0` of the decoder made linear at the mean, and its slopes.

        `(B, T, C)` and `(B, T, C, Z)`.
        """

        network = self.residual.network

        def decode(z: Tensor) -> Tensor:
            return self.scaler(self._expectation(z, share=network))

        z = network * posterior.mu
        window, derivative = slopes(decode, z)
        origin = window - ops.reshape(ops.matmul(z[:, None], derivative), ops.shape(window))
        derivative = network * ops.transpose(derivative, (0, 2, 1))
        return origin, ops.reshape(derivative, (-1, *window.shape[1:], derivative.shape[-1]))

    def _filled(self, x: Tensor, posterior: Posterior, draws: int) -> Tensor:
        """`(B, T, C, 1 + draws)`, raw units."""
        if self.residual is None:
            window = self.scaler(self._expectation(posterior.mu))
            filled = (window + interpolate(self.scaler(x) - window))[..., None]
        else:
            origin, slopes = self._linearised(x, posterior)
            residual = self.scaler(x) - origin
            filled = origin[..., None] + self.residual.condition(residual, slopes, draws)
        raw = self.likelihood.nearest(self.scaler.inverse(ops.moveaxis(filled, -1, 1)))
        return ops.where(ops.isnan(x)[..., None], ops.moveaxis(raw, 1, -1), x[..., None])

    def _predict(
        self, x: Data, batch_size: int | None, refine: int, name: str, *arguments: Any
    ) -> Any:
        self._require_built()
        if batch_size is None:
            batch_size = self._windows_at_once()
        predict = self._predictor(refine, name, *arguments)
        if hasattr(x, "element_spec"):
            return predict(x, verbose=0)
        return _in_equal_batches(predict, x, batch_size)

    def _windows_at_once(self, entries: int = 2**22, further: int = 1) -> int:
        """How many windows fit into so many entries, with their derivatives by all latents."""
        size = self.decoder.seq_len * self.decoder.channels
        return int(np.clip(entries // (size * (self.config.latent_dim + further)), 1, 1024))

    def decode(self, z: Array, batch_size: int = 32) -> Array:
        """Windows `(N, T, C)` in raw units, as NumPy, from latents.

        Args:
            z: `(N, Z)`, in standard deviations of the prior.
            batch_size: Windows at a time.
        """
        self._require_built()
        return self._predict_window(z, batch_size=batch_size, verbose=0)

    def sample(self, n: int, seed: int | None = None) -> Array:
        """Windows `(n, T, C)` in raw units, decoded from draws of the prior `N(0, 1)`.

        Args:
            n: How many.
            seed: Decides the draws.
        """
        z = np.random.default_rng(seed).standard_normal((n, self.config.latent_dim))
        return self.decode(z.astype("float32"))

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(
                "The model does not know its channels yet. Set channels in the VAEConfig, or "
                "adapt, fit or load it first."
            )

    def get_compile_config(self) -> JSON | None:
        """What `compile` was given, but with the choice of `jit_compile` left to who loads it.

        Keras saves its choice for one backend, and would have PyTorch compile what was saved
        under JAX, which takes longer than most predictions.
        """
        config = super().get_compile_config()
        return config and {**config, "jit_compile": "auto"}

    def get_config(self) -> JSON:
        return {**super().get_config(), "config": self.config.to_dict()}

    @classmethod
    def from_config(cls, config: JSON) -> Self:
        config = dict(config)
        return cls(VAEConfig.from_dict(config.pop("config")), **config)


def _in_equal_batches(predict: Callable[..., Any], x: Data, most: int) -> Any:
    """`predict` of arrays in as few batches as `most` windows allow, all of one size.

    A smaller one at the end would be compiled by itself; copies of the last window fill it up.
    """
    parts = x if isinstance(x, (tuple, list)) else (x,)
    parts = [p if isinstance(p, np.ndarray) else ops.convert_to_numpy(p) for p in parts]
    count = len(parts[0])
    batches = max(1, -(-count // most))
    size = -(-count // batches)
    if batches * size > count:
        filled = np.minimum(np.arange(batches * size), count - 1)
        parts = [part[filled] for part in parts]
    found = predict(tuple(parts) if len(parts) > 1 else parts[0], batch_size=size, verbose=0)
    return keras.tree.map_structure(lambda values: values[:count], found)


class _Path(MissingDataModel):
    """One way through a VAE, to `predict` with; never saved."""

    def __init__(self, vae: NeuroBehaviorVAE, function: Callable[[Tensor], Any]) -> None:
        super().__init__(autocast=False, name="path")
        self.vae = vae
        self.function = function
        self.built = True  # Keras would call it once to build it, operation by operation

    def call(self, inputs: Tensor) -> Any:
        return self.function(inputs)


VAE = NeuroBehaviorVAE
