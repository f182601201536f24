"""Compresses a window to the mean and log variance of its latents."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import JSON, Shape, Tensor
from ceneurovae.model.backbones import make_backbone
from ceneurovae.model.linear_path import LinearPath
from ceneurovae.model.missing import interpolate, split_missing
from ceneurovae.model.mlp import MLP

LOGVAR_LIMIT = 10.0
SQUEEZED_DIM = 16
# Scores are divided by their deviation, but those of hardly any variance by this share of the
# largest one at least.
LEAST_SHARE = 0.05


@keras.saving.register_keras_serializable(package="ceneurovae")
class Encoder(keras.layers.Layer):
    """Window `(B, T, C)` -> posterior `mu` and `logvar`, each `(B, Z)`.

    The posterior of probabilistic PCA, from a `LinearPath`, plus `gain` times what a network makes
    of the window, which is nothing before training. `logvar` is kept within -10 and 10, where its
    exponential is safe.

    Args:
        latent_dim: Number `Z` of latents.
        hidden_dim: Width of the network.
        num_layers: Layers of the network.
        dropout: Share of units dropped in training.
        backbone: `"mlp"` sees the scores on the principal components, and on them what is missing;
            `"conv"`, `"gru"`, `"lstm"` and `"transformer"` see the sequence, with `C` more channels
            that tell what is missing; `"linear"` is one trained linear map.
        num_heads: Attention heads, for the transformer only.
        positional_encoding: `kind` of the transformer's `PositionalEncoding`.

    Input shape:
        `(B, T, C)`, `T` and `C` fixed; NaN where nothing was observed.

    Output shape:
        A pair of `(B, Z)`.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden_dim: int = 256,
        num_layers: int = 3,
        dropout: float = 0.05,
        backbone: str = "mlp",
        num_heads: int = 4,
        positional_encoding: str = "sinusoidal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.settings: JSON = {
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            "backbone": backbone,
            "num_heads": num_heads,
            "positional_encoding": positional_encoding,
        }
        outputs, dtype = 2 * latent_dim, self.dtype_policy
        if backbone == "mlp":
            self.network = MLP(outputs, hidden_dim, num_layers, dropout, dtype=dtype)
        elif backbone == "linear":
            self.network = keras.layers.Dense(outputs, kernel_initializer="zeros", dtype=dtype)
        else:
            self.network = SequenceReader(outputs, **self.settings, dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        batch, steps, channels = input_shape
        self.linear = LinearPath(steps, channels, dtype="float32", name="linear")
        self.linear.build(input_shape)
        self.gain = self.add_weight(
            shape=(), initializer="ones", trainable=False, dtype="float32", name="gain"
        )
        features = {"mlp": 2 * self.linear.components, "linear": steps * channels}
        size = features.get(self.settings["backbone"])
        self.network.build(input_shape if size is None else (batch, size))

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        filled = interpolate(ops.cast(x, "float32"))
        scores = self.linear.project(filled)
        mu, logvar = self.linear.posterior(scores, self.latent_dim)
        correction = self._correction(x, filled, scores, training)
        shift, widening = ops.split(ops.cast(correction, "float32"), 2, axis=-1)
        gain = ops.cast(self.gain, "float32")
        logvar = ops.clip(logvar + gain * widening, -LOGVAR_LIMIT, LOGVAR_LIMIT)
        mu = mu + gain * shift
        return ops.cast(mu, self.compute_dtype), ops.cast(logvar, self.compute_dtype)

    def _correction(self, x: Tensor, filled: Tensor, scores: Tensor, training: bool) -> Tensor:
        """What the network adds to `mu` and `logvar`, `(B, 2 * Z)`."""
        backbone = self.settings["backbone"]
        if backbone == "linear":
            size = self.linear.seq_len * self.linear.channels
            return self.network(ops.reshape(filled, (-1, size)))
        if backbone != "mlp":
            return self.network(x, training=training)
        variances = ops.convert_to_tensor(self.linear.variances)
        scale = ops.sqrt(variances + LEAST_SHARE * variances[0])
        missing = 1.0 - split_missing(x)[1]
        spread = (self.linear.seq_len * self.linear.channels) ** 0.5
        gaps = self.linear.project(ops.cast(missing, "float32")) / spread
        return self.network(ops.concatenate([scores / scale, gaps], axis=-1), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = (input_shape[0], self.latent_dim)
        return shape, shape

    def get_config(self) -> JSON:
        return {**super().get_config(), "latent_dim": self.latent_dim, **self.settings}


@keras.saving.register_keras_serializable(package="ceneurovae")
class SequenceReader(keras.layers.Layer):
    """`(B, T, C)` with NaN -> `(B, n)` through a backbone over time.

    Missing entries count as 0, and which ones they are is shown as `C` extra channels. Every time
    step of the backbone's output is squeezed to 16 features, and all steps together give the
    output, so that it may depend on when something happened. It starts at zero.

    Args:
        units: Size `n` of the output.
        backbone, hidden_dim, num_layers, dropout, num_heads, positional_encoding: As for
            `Encoder`.
    """

    def __init__(
        self,
        units: int,
        backbone: str,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        num_heads: int,
        positional_encoding: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        extra = {"num_heads": num_heads, "positional_encoding": positional_encoding}
        self.settings: JSON = {
            "backbone": backbone,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            **extra,
        }
        dtype = self.dtype_policy
        self.project = keras.layers.Dense(hidden_dim, dtype=dtype)
        self.body = make_backbone(backbone, hidden_dim, num_layers, dropout, dtype=dtype, **extra)
        self.squeeze = keras.layers.Dense(SQUEEZED_DIM, dtype=dtype)
        self.readout = keras.layers.Dense(units, kernel_initializer="zeros", dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        batch, steps, channels = input_shape
        hidden = (batch, steps, self.settings["hidden_dim"])
        self.project.build((batch, steps, 2 * channels))
        self.body.build(hidden)
        self.squeeze.build(hidden)
        self.flat_dim = steps * SQUEEZED_DIM
        self.readout.build((batch, self.flat_dim))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        x = ops.concatenate(split_missing(x), axis=-1)
        hidden = self.body(self.project(x), training=training)
        return self.readout(ops.reshape(self.squeeze(hidden), (-1, self.flat_dim)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.units)

    def get_config(self) -> JSON:
        return {**super().get_config(), "units": self.units, **self.settings}
