"""Weights that are set from data and never trained."""


def fixed_weight(layer, name, shape, initializer):
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
