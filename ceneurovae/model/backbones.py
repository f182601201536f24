"""Stacks of sequence layers, `(B, T, H) -> (B, T, H)`, the body of encoder and decoder."""

from typing import Any

import keras

from ceneurovae.hints import JSON, Shape, Tensor
from ceneurovae.model.attention import MultiHeadAttention
from ceneurovae.model.dropout import Dropout
from ceneurovae.model.positional_encoding import PositionalEncoding
from ceneurovae.model.recurrence import GRU, LSTM


class _Backbone(keras.layers.Layer):
    """What the backbones share: their arguments and their config.

    Input shape:
        `(B, T, H)` with `H = hidden_dim`.

    Output shape:
        `(B, T, H)`.
    """

    def __init__(
        self, hidden_dim: int, num_layers: int = 2, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.dropout = dropout

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="ceneurovae")
class ConvBackbone(_Backbone):
    """Residual convolutions over time whose dilation doubles from layer to layer.

    Layer `i` sees `2^i` steps to either side of each, and the cost is linear in `T` (Bai, Kolter &
    Koltun, "An empirical evaluation of generic convolutional and recurrent networks", 2018;
    not causal here).

    Args:
        hidden_dim: Width `H`.
        num_layers: Number of convolutions.
        dropout: Share of units dropped in training.
    """

    KERNEL_SIZE = 3

    def __init__(
        self, hidden_dim: int, num_layers: int = 2, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(hidden_dim, num_layers, dropout, **kwargs)
        self.convolutions = [
            keras.layers.Conv1D(
                hidden_dim,
                self.KERNEL_SIZE,
                dilation_rate=2**i,
                padding="same",
                activation="silu",
                dtype=self.dtype_policy,
            )
            for i in range(num_layers)
        ]
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Shape) -> None:
        for convolution in self.convolutions:
            convolution.build(input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        for convolution in self.convolutions:
            x = x + self.drop(convolution(x), training=training)
        return x


class _RecurrentBackbone(_Backbone):
    """Recurrent layers one on top of another; a subclass says of which kind in `_LAYER`."""

    _LAYER: Any = None

    def __init__(
        self, hidden_dim: int, num_layers: int = 2, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(hidden_dim, num_layers, dropout, **kwargs)
        self.recurrences = [
            self._LAYER(hidden_dim, dtype=self.dtype_policy) for _ in range(num_layers)
        ]
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Shape) -> None:
        for recurrence in self.recurrences:
            recurrence.build(input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        for recurrence in self.recurrences:
            x = self.drop(recurrence(x), training=training)
        return x


@keras.saving.register_keras_serializable(package="ceneurovae")
class GRUBackbone(_RecurrentBackbone):
    """Gated recurrent units, one layer on top of another.

    Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.

    Args:
        hidden_dim: Width `H`.
        num_layers: Number of recurrent layers.
        dropout: Share of units dropped after each layer in training.
    """

    _LAYER = GRU


@keras.saving.register_keras_serializable(package="ceneurovae")
class LSTMBackbone(_RecurrentBackbone):
    """Long short-term memory, one layer on top of another; 4/3 of the weights of the GRU.

    Hochreiter & Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers,
    Schmidhuber & Cummins, "Learning to forget: continual prediction with LSTM", 2000.

    Args:
        hidden_dim: Width `H`.
        num_layers: Number of recurrent layers.
        dropout: Share of units dropped after each layer in training.
    """

    _LAYER = LSTM


@keras.saving.register_keras_serializable(package="ceneurovae")
class TransformerBackbone(_Backbone):
    """Self-attention over the whole window, layer norm first; the cost is quadratic in `T`.

    Vaswani et al., "Attention is all you need", 2017, with the normalisation placed as by Xiong
    et al., "On layer normalization in the transformer architecture", 2020. Attention treats all
    steps alike, so positions are added to the input.

    Args:
        hidden_dim: Width `H`, a multiple of `num_heads`.
        num_layers: Number of attention layers, each with a feed-forward layer of `4 * H`.
        dropout: Share of units dropped in training.
        num_heads: Attention heads.
        positional_encoding: `kind` of the `PositionalEncoding`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        num_heads: int = 4,
        positional_encoding: str = "sinusoidal",
        **kwargs: Any,
    ) -> None:
        super().__init__(hidden_dim, num_layers, dropout, **kwargs)
        self.num_heads = num_heads
        self.positional_encoding = positional_encoding
        dtype = self.dtype_policy
        self.position = PositionalEncoding(positional_encoding, dtype=dtype)
        self.attention_norms = [_layer_norm(dtype) for _ in range(num_layers)]
        self.attentions = [
            MultiHeadAttention(num_heads, hidden_dim // num_heads, dtype=dtype)
            for _ in range(num_layers)
        ]
        self.feed_forward_norms = [_layer_norm(dtype) for _ in range(num_layers)]
        self.expansions = [
            keras.layers.Dense(4 * hidden_dim, activation="gelu", dtype=dtype)
            for _ in range(num_layers)
        ]
        self.contractions = [keras.layers.Dense(hidden_dim, dtype=dtype) for _ in range(num_layers)]
        self.final_norm = _layer_norm(dtype)
        self.drop = Dropout(dropout, dtype=dtype)

    def build(self, input_shape: Shape) -> None:
        self.position.build(input_shape)
        for attention in self.attentions:
            attention.build(input_shape, input_shape)
        for layer in (*self.attention_norms, *self.feed_forward_norms, self.final_norm):
            layer.build(input_shape)
        for expansion, contraction in zip(self.expansions, self.contractions, strict=True):
            expansion.build(input_shape)
            contraction.build((*input_shape[:-1], 4 * self.hidden_dim))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        x = self.position(x)
        for attention_norm, attention, feed_forward_norm, expansion, contraction in zip(
            self.attention_norms,
            self.attentions,
            self.feed_forward_norms,
            self.expansions,
            self.contractions,
            strict=True,
        ):
            normed = attention_norm(x)
            x = x + self.drop(attention(normed, normed), training=training)
            x = x + self.drop(contraction(expansion(feed_forward_norm(x))), training=training)
        return self.final_norm(x)

    def get_config(self) -> JSON:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "positional_encoding": self.positional_encoding,
        }


def _layer_norm(dtype: Any) -> Any:
    return keras.layers.LayerNormalization(epsilon=1e-6, dtype=dtype)


_BACKBONES = {
    "conv": ConvBackbone,
    "gru": GRUBackbone,
    "lstm": LSTMBackbone,
    "transformer": TransformerBackbone,
}


def make_backbone(
    name: str,
    hidden_dim: int,
    num_layers: int,
    dropout: float,
    dtype: Any = None,
    **transformer_only: Any,
) -> _Backbone:
    """The backbone called `name`: `"conv"`, `"gru"`, `"lstm"` or `"transformer"`.

    `transformer_only` holds `num_heads` and `positional_encoding`, which the others ignore.
    """
    if name not in _BACKBONES:
        raise ValueError(f"backbone is {name!r}, expected one of {', '.join(_BACKBONES)}.")
    extra = transformer_only if name == "transformer" else {}
    return _BACKBONES[name](hidden_dim, num_layers, dropout, dtype=dtype, **extra)
