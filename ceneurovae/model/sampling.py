"""The reparameterised draw from the posterior."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import JSON, Shape, Tensor


@keras.saving.register_keras_serializable(package="ceneurovae")
class Sampling(keras.layers.Layer):
    """Draws `z = mu + exp(0.5 * logvar) * eps` with `eps ~ N(0, 1)`.

    Gradients reach `mu` and `logvar` through the draw (Kingma & Welling, "Auto-encoding
    variational Bayes", 2014, section 2.4).

    Args:
        seed: Whole number that makes the sequence of draws repeatable.

    Input shape:
        A pair `(mu, logvar)`, each `(B, Z)`.

    Output shape:
        `(B, Z)`.

    Example:

    >>> mu, logvar = keras.ops.zeros((2, 3)), keras.ops.zeros((2, 3))
    >>> tuple(Sampling(seed=0)((mu, logvar)).shape)
    (2, 3)
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        mu, logvar = inputs
        deviation = ops.exp(0.5 * ops.cast(logvar, "float32"))
        noise = keras.random.normal(ops.shape(mu), dtype="float32", seed=self.seed_generator)
        return ops.cast(ops.cast(mu, "float32") + deviation * noise, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def get_config(self) -> JSON:
        return {**super().get_config(), "seed": self.seed}
