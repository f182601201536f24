"""Multi-head attention whose derivative is written out, for JAX and TensorFlow in training."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from ceneurovae.hints import Tensor


class MultiHeadAttention(keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` `(B, T, H)`, without masks, dropout or scores.

    In training, where the backend has no kernel for it, it is computed by `attend`.

    Args:
        num_heads: Attention heads `N`.
        key_dim: Width `D` of a head.
    """

    def _compute_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any = None,
        training: Any = None,
        *rest: Any,
        **named: Any,
    ) -> tuple[Tensor, Tensor | None]:
        # PyTorch has a kernel, and GPUs have for bfloat16.
        in_torch = type(query).__module__.partition(".")[0] == "torch"
        if not training or in_torch or self.compute_dtype != "float32":
            return super()._compute_attention(query, key, value, mask, training, *rest, **named)
        scaled = query * self._inverse_sqrt_key_dim
        heads_first = (ops.swapaxes(x, 1, 2) for x in (scaled, key, value))
        return ops.swapaxes(attend(*heads_first), 1, 2), None


@ops.custom_gradient
def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    """Dot-product attention (Vaswani et al., "Attention is all you need", 2017, equation 1).

    Weights have the keys before the queries: sums over keys then run along whole rows, and no
    product has a `(T, T)` matrix to transpose, both of which XLA has fast code for on a CPU. Of
    those matrices one alone is kept for the derivative (Dao et al., "FlashAttention", 2022,
    appendix B.2).

    Args:
        query: `(B, N, T, D)`, scaled.
        key, value: `(B, N, T, D)`.

    Returns:
        `(B, N, T, D)`, and what `ops.custom_gradient` wants: the function from its derivative to
        those of the arguments.
    """
    scores = ops.matmul(key, _transposed(query))
    weights = ops.exp(scores - ops.max(scores, axis=-2, keepdims=True))
    weights = weights / ops.sum(weights, axis=-2, keepdims=True)
    output = _transposed(ops.matmul(_transposed(value), weights))

    def derivatives(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_weights = ops.matmul(value, _transposed(upstream))
        mean = _transposed(ops.sum(output * upstream, axis=-1, keepdims=True))
        of_scores = weights * (of_weights - mean)
        of_query = _transposed(ops.matmul(_transposed(key), of_scores))
        return of_query, ops.matmul(of_scores, query), ops.matmul(weights, upstream)

    return output, derivatives


def _transposed(x: Tensor) -> Tensor:
    return ops.swapaxes(x, -2, -1)
