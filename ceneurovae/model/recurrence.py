"""Recurrent layers of Keras, fused where they would loop over time in Python: PyTorch, on a CPU."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import Tensor


class _Recurrence:
    """What is changed of a recurrent layer of Keras, which stands behind it among the bases."""

    cell: Any

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, return_sequences=True, **kwargs)  # type: ignore[call-arg]

    def inner_loop(self, sequences: Tensor, *args: Any, **kwargs: Any) -> Any:
        if type(sequences).__module__ == "torch" and sequences.device.type == "cpu":
            return self._fused(sequences)
        return super().inner_loop(sequences, *args, **kwargs)  # type: ignore[misc]

    def _weights_in_torch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kernel, recurrent kernel and their biases, with the gates in the order of PyTorch."""
        raise NotImplementedError

    def _fused(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Last output, all outputs and last states, computed by PyTorch's layer of this name."""
        import torch

        kernel, recurrent_kernel, bias, recurrent_bias = self._weights_in_torch()
        # Without memory of its own: it is lent the weights for one call.
        make = getattr(torch.nn, type(self).__name__)
        layer = make(kernel.shape[0], recurrent_kernel.shape[0], device="meta")
        weights = {
            "weight_ih_l0": kernel.T,
            "weight_hh_l0": recurrent_kernel.T,
            "bias_ih_l0": bias,
            "bias_hh_l0": recurrent_bias,
        }
        steps_first = x.to(kernel.dtype).transpose(0, 1)
        outputs, states = torch.func.functional_call(layer, weights, (steps_first,))
        states = states if isinstance(states, tuple) else (states,)
        return outputs[-1], outputs.transpose(0, 1), [state[0] for state in states]


class GRU(_Recurrence, keras.layers.GRU):
    """`keras.layers.GRU` that gives `(B, T, H)`, without dropout or masks of its own.

    Args:
        units: Width `H`.
    """

    def _weights_in_torch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        reordered = []
        for weight in self.cell.weights:
            update, reset, candidate = ops.split(ops.convert_to_tensor(weight), 3, axis=-1)
            reordered.append(ops.concatenate([reset, update, candidate], axis=-1))
        kernel, recurrent_kernel, biases = reordered
        return kernel, recurrent_kernel, *biases


class LSTM(_Recurrence, keras.layers.LSTM):
    """`keras.layers.LSTM` that gives `(B, T, H)`, without dropout or masks of its own.

    Args:
        units: Width `H`.
    """

    def _weights_in_torch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        kernel, recurrent_kernel, bias = map(ops.convert_to_tensor, self.cell.weights)
        return kernel, recurrent_kernel, bias, ops.zeros_like(bias)
