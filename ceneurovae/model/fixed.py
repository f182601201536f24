"""Weights that are set from data and never trained."""

from collections.abc import Callable
from typing import Any

from ceneurovae.hints import Shape, Tensor


def fixed_weight(
    layer: Any, name: str, shape: Shape, initializer: str | Callable[..., Tensor]
) -> Any:
    """Adds a weight to `layer` that is float32 always: raw units may exceed half precision."""
    return layer.add_weight(
        shape=shape,
        initializer=initializer,
        trainable=False,
        dtype="float32",
        aggregation="mean",  # what devices that share a batch make of it
        autocast=False,
        name=name,
    )
