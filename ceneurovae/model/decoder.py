"""Expands latents to a window."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import JSON, Shape, Tensor
from ceneurovae.model.backbones import make_backbone
from ceneurovae.model.linear_path import LinearPath
from ceneurovae.model.mlp import MLP
from ceneurovae.model.positional_encoding import PositionalEncoding


@keras.saving.register_keras_serializable(package="ceneurovae")
class Decoder(keras.layers.Layer):
    """Latents `(B, Z)` -> window `(B, T, C)`.

    The expectation of probabilistic PCA, from a `LinearPath`, plus `gain` times what a network
    makes of the latents, which is nothing before training.

    Args:
        seq_len: Length `T` of the window.
        channels: Number `C` of channels.
        hidden_dim: Width of the network.
        num_layers: Layers of the network.
        dropout: Share of units dropped in training.
        backbone: `"mlp"` gives scores on all principal components; `"conv"`, `"gru"`, `"lstm"` and
            `"transformer"` give the sequence; `"linear"` is one trained linear map.
        num_heads: Attention heads, for the transformer only.
        positional_encoding: `kind` of the `PositionalEncoding` of sequences.

    Input shape:
        `(B, Z)`.

    Output shape:
        `(B, T, C)`.
    """

    def __init__(
        self,
        seq_len: int,
        channels: int,
        hidden_dim: int = 256,
        num_layers: int = 3,
        dropout: float = 0.05,
        backbone: str = "mlp",
        num_heads: int = 4,
        positional_encoding: str = "sinusoidal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.channels = channels
        self.settings: JSON = {
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            "backbone": backbone,
            "num_heads": num_heads,
            "positional_encoding": positional_encoding,
        }
        dtype = self.dtype_policy
        self.linear = LinearPath(seq_len, channels, dtype="float32", name="linear")
        if backbone == "mlp":
            self.network = MLP(self.linear.components, hidden_dim, num_layers, dropout, dtype=dtype)
        elif backbone == "linear":
            size = seq_len * channels
            self.network = keras.layers.Dense(size, kernel_initializer="zeros", dtype=dtype)
        else:
            self.network = SequenceWriter(seq_len, channels, **self.settings, dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        self.linear.build()
        self.gain = self.add_weight(
            shape=(), initializer="ones", trainable=False, dtype="float32", name="gain"
        )
        self.network.build(input_shape)

    def call(self, z: Tensor, training: bool = False, share: float = 1.0) -> Tensor:
        """`share`: of the gain, how much counts in this call."""
        z = ops.cast(z, "float32")
        backbone = self.settings["backbone"]
        drops = {} if backbone == "linear" else {"training": training}
        correction = self.network(z, **drops)
        gain = share * ops.cast(self.gain, "float32")
        correction = gain * ops.cast(correction, "float32")
        scores = self.linear.expectation(z)
        if backbone == "mlp":
            root_mean_square = ops.sqrt(ops.mean(self.linear.variances))
            missing = self.linear.components - scores.shape[-1]
            scores = ops.pad(scores, ((0, 0), (0, missing))) + root_mean_square * correction
            window = self.linear.inverse(scores)
        else:
            shape = (-1, self.seq_len, self.channels)
            window = self.linear.inverse(scores) + ops.reshape(correction, shape)
        return ops.cast(window, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.seq_len, self.channels)

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "seq_len": self.seq_len,
            "channels": self.channels,
            **self.settings,
        }


@keras.saving.register_keras_serializable(package="ceneurovae")
class SequenceWriter(keras.layers.Layer):
    """`(B, Z)` -> `(B, T, C)` through a backbone over time.

    The latents are projected to `H` amplitudes and tiled over time. Each amplitude is multiplied
    by a time course, a trained mixture of the features of a positional encoding, and the backbone
    turns the result into channels. Time course times amplitude is the form of a principal
    component of a window, which a positional encoding that is only added has to approximate. The
    output starts at zero.

    Args:
        seq_len, channels, backbone, hidden_dim, num_layers, dropout, num_heads,
            positional_encoding: As for `Decoder`.
    """

    def __init__(
        self,
        seq_len: int,
        channels: int,
        backbone: str,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        num_heads: int,
        positional_encoding: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.channels = channels
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
        self.position = PositionalEncoding(positional_encoding, dtype=dtype)
        self.time_courses = keras.layers.Dense(hidden_dim, dtype=dtype)
        self.body = make_backbone(backbone, hidden_dim, num_layers, dropout, dtype=dtype, **extra)
        self.readout = keras.layers.Dense(channels, kernel_initializer="zeros", dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        sequence = (input_shape[0], self.seq_len, self.settings["hidden_dim"])
        self.project.build(input_shape)
        for layer in (self.position, self.time_courses, self.body, self.readout):
            layer.build(sequence)

    def call(self, z: Tensor, training: bool = False) -> Tensor:
        origin = ops.zeros((1, self.seq_len, self.settings["hidden_dim"]), self.compute_dtype)
        time_courses = self.time_courses(self.position(origin))
        hidden = self.project(z)[:, None] * time_courses  # tiled over time
        return self.readout(self.body(hidden, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.seq_len, self.channels)

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "seq_len": self.seq_len,
            "channels": self.channels,
            **self.settings,
        }
