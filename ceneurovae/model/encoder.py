"""Compresses a window to the mean and log variance of its latents."""

import keras
from keras import ops

from ceneurovae.model.backbones import make_backbone
from ceneurovae.model.missing import split_missing

LOGVAR_LIMIT = 10.0
SQUEEZED_DIM = 16


@keras.saving.register_keras_serializable(package="ceneurovae")
class Encoder(keras.layers.Layer):
    """Window `(B, T, C)` -> posterior `mu` and `logvar`, each `(B, Z)`.

    Missing entries (NaN) count as 0, and which ones they are is shown to the network as `C`
    extra channels. Every time step of the backbone's output is squeezed to 16 features, and all
    steps together give the posterior, so that it may depend on when something happened. `logvar`
    is kept within -10 and 10, where its exponential is safe.

    Args:
        latent_dim: Number `Z` of latents.
        hidden_dim: Width of the backbone.
        num_layers: Layers of the backbone.
        dropout: Share of units dropped in training.
        backbone: `"conv"`, `"gru"` or `"transformer"`.
        num_heads: Attention heads, for the transformer only.
        positional_encoding: `kind` of the transformer's `PositionalEncoding`.

    Input shape:
        `(B, T, C)`, `T` and `C` fixed.

    Output shape:
        A pair of `(B, Z)`.
    """

    def __init__(
        self,
        latent_dim,
        hidden_dim=256,
        num_layers=2,
        dropout=0.1,
        backbone="conv",
        num_heads=4,
        positional_encoding="sinusoidal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.settings = {
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            "backbone": backbone,
            "num_heads": num_heads,
            "positional_encoding": positional_encoding,
        }
        dtype = self.dtype_policy
        self.project = keras.layers.Dense(hidden_dim, dtype=dtype)
        self.body = make_backbone(
            backbone,
            hidden_dim,
            num_layers,
            dropout,
            dtype=dtype,
            num_heads=num_heads,
            positional_encoding=positional_encoding,
        )
        self.squeeze = keras.layers.Dense(SQUEEZED_DIM, dtype=dtype)
        self.posterior = keras.layers.Dense(2 * latent_dim, dtype=dtype)

    def build(self, input_shape):
        batch, steps, channels = input_shape
        hidden_dim = self.settings["hidden_dim"]
        self.project.build((batch, steps, 2 * channels))
        self.body.build((batch, steps, hidden_dim))
        self.squeeze.build((batch, steps, hidden_dim))
        self.flat_dim = steps * SQUEEZED_DIM
        self.posterior.build((batch, self.flat_dim))

    def call(self, x, training=False):
        x = ops.concatenate(split_missing(x), axis=-1)
        hidden = self.body(self.project(x), training=training)
        posterior = self.posterior(ops.reshape(self.squeeze(hidden), (-1, self.flat_dim)))
        mu, logvar = ops.split(posterior, 2, axis=-1)
        return mu, ops.clip(logvar, -LOGVAR_LIMIT, LOGVAR_LIMIT)

    def compute_output_shape(self, input_shape):
        shape = (input_shape[0], self.latent_dim)
        return shape, shape

    def get_config(self):
        return {**super().get_config(), "latent_dim": self.latent_dim, **self.settings}
