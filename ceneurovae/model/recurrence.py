"""Recurrent layers of Keras, fused where they would loop over time in Python: PyTorch, on a CPU."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import Tensor


class GRU(keras.layers.GRU):
    """`keras.layers.GRU` that gives `(B, T, H)`, without dropout or masks of its own.

    Args:
        units: Width `H`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, return_sequences=True, **kwargs)

    def inner_loop(self, sequences: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not _loops_in_python(sequences):
            return super().inner_loop(sequences, *args, **kwargs)
        kernel, recurrent_kernel, bias = (
            _reset_gate_first(ops.convert_to_tensor(weight)) for weight in self.cell.weights
        )
        return _fused("GRU", sequences, kernel, recurrent_kernel, *bias)


class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` that gives `(B, T, H)`, without dropout or masks of its own.

    Args:
        units: Width `H`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, return_sequences=True, **kwargs)

    def inner_loop(self, sequences: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not _loops_in_python(sequences):
            return super().inner_loop(sequences, *args, **kwargs)
        kernel, recurrent_kernel, bias = map(ops.convert_to_tensor, self.cell.weights)
        return _fused("LSTM", sequences, kernel, recurrent_kernel, bias, ops.zeros_like(bias))


def _loops_in_python(sequences: Tensor) -> bool:
    return type(sequences).__module__ == "torch" and sequences.device.type == "cpu"


def _reset_gate_first(weight: Tensor) -> Tensor:
    """Columns of the gates in the order of PyTorch: reset, update, candidate."""
    update, reset, candidate = ops.split(weight, 3, axis=-1)
    return ops.concatenate([reset, update, candidate], axis=-1)


def _fused(
    kind: str, x: Tensor, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor, further: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Last output, all outputs and last states of a layer of PyTorch with these weights."""
    import torch

    # Without memory of its own: it is lent the weights for one call.
    layer = getattr(torch.nn, kind)(*kernel.shape[:1], recurrent_kernel.shape[0], device="meta")
    weights = {
        "weight_ih_l0": kernel.T,
        "weight_hh_l0": recurrent_kernel.T,
        "bias_ih_l0": bias,
        "bias_hh_l0": further,
    }
    steps_first = x.to(kernel.dtype).transpose(0, 1)
    outputs, states = torch.func.functional_call(layer, weights, (steps_first,))
    states = states if kind == "LSTM" else (states,)
    return outputs[-1], outputs.transpose(0, 1), [state[0] for state in states]
