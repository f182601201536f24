"""Fully connected layers on vectors of features, with an output that starts at zero."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import JSON, Shape, Tensor
from ceneurovae.model.dropout import Dropout

CLIP = 5.0


@keras.saving.register_keras_serializable(package="ceneurovae")
class MLP(keras.layers.Layer):
    """`(B, n) -> (B, m)` through hidden layers with SiLU and dropout.

    The output layer starts at zero, so that what the output is added to is what counts at first.
    The input is limited softly to 5 on either side, `v / sqrt(1 + (v / 5)^2)`: held-out data that
    is further out than any training data meets a network that no longer grows.

    Args:
        units: Size `m` of the output.
        hidden_dim: Width of the hidden layers.
        num_layers: Number of hidden layers.
        dropout: Share of hidden units dropped in training.

    Input shape:
        `(B, n)`, of about unit variance.

    Output shape:
        `(B, m)`.
    """

    def __init__(
        self,
        units: int,
        hidden_dim: int = 256,
        num_layers: int = 3,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = {
            "units": units,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "dropout": dropout,
        }
        dtype = self.dtype_policy
        self.hidden = [
            keras.layers.Dense(hidden_dim, activation="silu", dtype=dtype)
            for _ in range(num_layers)
        ]
        self.drop = Dropout(dropout, dtype=dtype)
        self.readout = keras.layers.Dense(units, kernel_initializer="zeros", dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        for layer in (*self.hidden, self.readout):
            layer.build(input_shape)
            input_shape = (*input_shape[:-1], self.settings["hidden_dim"])

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        x = x / ops.sqrt(1.0 + ops.square(x / CLIP))
        for layer in self.hidden:
            x = self.drop(layer(x), training=training)
        return self.readout(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.settings["units"])

    def get_config(self) -> JSON:
        return {**super().get_config(), **self.settings}
