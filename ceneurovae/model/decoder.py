"""Expands latents to a window."""

import keras
from keras import ops

from ceneurovae.model.backbones import make_backbone
from ceneurovae.model.positional_encoding import PositionalEncoding


@keras.saving.register_keras_serializable(package="ceneurovae")
class Decoder(keras.layers.Layer):
    """Latents `(B, Z)` -> window `(B, T, C)`.

    The latents are projected to `H` amplitudes and tiled over time. Each amplitude is multiplied
    by a time course, a trained mixture of the features of a positional encoding, and the backbone
    turns the result into channels. Time course times amplitude is the form of a principal
    component of a window, which a positional encoding that is only added has to approximate.

    Args:
        seq_len: Length `T` of the window.
        channels: Number `C` of channels.
        hidden_dim: Width of the backbone.
        num_layers: Layers of the backbone.
        dropout: Share of units dropped in training.
        backbone: `"conv"`, `"gru"` or `"transformer"`.
        num_heads: Attention heads, for the transformer only.
        positional_encoding: `kind` of the `PositionalEncoding`.

    Input shape:
        `(B, Z)`.

    Output shape:
        `(B, T, C)`.
    """

    def __init__(
        self,
        seq_len,
        channels,
        hidden_dim=256,
        num_layers=2,
        dropout=0.1,
        backbone="conv",
        num_heads=4,
        positional_encoding="sinusoidal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.channels = channels
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
        self.position = PositionalEncoding(positional_encoding, dtype=dtype)
        self.time_courses = keras.layers.Dense(hidden_dim, dtype=dtype)
        self.body = make_backbone(
            backbone,
            hidden_dim,
            num_layers,
            dropout,
            dtype=dtype,
            num_heads=num_heads,
            positional_encoding=positional_encoding,
        )
        self.readout = keras.layers.Dense(channels, dtype=dtype)

    def build(self, input_shape):
        batch, hidden_dim = input_shape[0], self.settings["hidden_dim"]
        sequence = (batch, self.seq_len, hidden_dim)
        self.project.build(input_shape)
        self.position.build(sequence)
        self.time_courses.build(sequence)
        self.body.build(sequence)
        self.readout.build(sequence)

    def call(self, z, training=False):
        origin = ops.zeros((1, self.seq_len, self.settings["hidden_dim"]), self.compute_dtype)
        time_courses = self.time_courses(self.position(origin))
        hidden = self.project(z)[:, None] * time_courses  # tiled over time
        return self.readout(self.body(hidden, training=training))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.seq_len, self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "seq_len": self.seq_len,
            "channels": self.channels,
            **self.settings,
        }
