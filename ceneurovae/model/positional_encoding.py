"""Tells a layer that treats all time steps alike where in the window it is."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ceneurovae.hints import JSON, Array, Shape, Tensor


@keras.saving.register_keras_serializable(package="ceneurovae")
class PositionalEncoding(keras.layers.Layer):
    """Adds to each time step a vector that depends on its position alone.

    `"sinusoidal"` adds, at position `t` and feature pair `i`, `sin(t / 10000^(2i/H))` and
    `cos(t / 10000^(2i/H))` (Vaswani et al., "Attention is all you need", 2017, section 3.5).
    `"learned"` adds a trained vector per position.

    Args:
        kind: `"sinusoidal"` or `"learned"`.

    Input shape:
        `(B, T, H)`, `T` and `H` fixed; `H` even for `"sinusoidal"`.

    Output shape:
        `(B, T, H)`.

    Raises:
        ValueError: if `kind` is unknown, or `H` is odd for `"sinusoidal"`.

    Example:

    >>> encoding = PositionalEncoding()(keras.ops.zeros((1, 2, 4)))
    >>> [[round(float(v), 3) for v in row] for row in encoding[0]]
    [[0.0, 1.0, 0.0, 1.0], [0.841, 0.54, 0.01, 1.0]]
    """

    def __init__(self, kind: str = "sinusoidal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("sinusoidal", "learned"):
            raise ValueError(f"kind is {kind!r}, expected one of sinusoidal, learned.")
        self.kind = kind

    def build(self, input_shape: Shape) -> None:
        steps, features = input_shape[-2:]
        if self.kind == "learned":
            self.table = self.add_weight(
                shape=(steps, features), initializer="random_normal", name="table"
            )
        else:
            self.table = sinusoidal_table(steps, features)

    def call(self, x: Tensor) -> Tensor:
        return x + ops.cast(self.table, x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> JSON:
        return {**super().get_config(), "kind": self.kind}


def sinusoidal_table(steps: int, features: int) -> Array:
    """The sinusoidal encoding of positions `0 ... steps - 1`: `(steps, features)`, float32."""
    if features % 2:
        raise ValueError(
            f"The sinusoidal encoding pairs a sine with a cosine, but has {features} features. "
            "Use an even number or kind='learned'."
        )
    angle = np.arange(steps)[:, None] / 10000 ** (np.arange(0, features, 2) / features)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return table.reshape(steps, features).astype("float32")
