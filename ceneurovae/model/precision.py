"""Half precision where it is safe: inside the networks, in training steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MIXED = "mixed_bfloat16"


@contextmanager
def in_bfloat16(*networks: Any) -> Iterator[None]:
    """A context in which layers of float32 compute in bfloat16, with their weights in float32.

    It counts where a layer is called or traced (Micikevicius et al., "Mixed precision training",
    2018; bfloat16 has the range of float32, so that losses need no scaling).

    Args:
        networks: Layers, with all in them.
    """
    layers = [layer for network in networks for layer in network._flatten_layers()]
    policies = [(layer, layer.dtype_policy) for layer in layers if layer.compute_dtype == "float32"]
    for layer, _ in policies:
        layer.dtype_policy = MIXED
    try:
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy
