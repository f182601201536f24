"""What a fit measures beside its loss, whatever the KL weight is."""

from typing import Any

import keras
from keras import ops

from ceneurovae.hints import JSON, Tensor

# A latent is active if its mean varies by more than this over windows.
ACTIVE_VARIANCE = 0.01


@keras.saving.register_keras_serializable(package="ceneurovae")
class ELBOParts(keras.metrics.Metric):
    """Means per example of `reconstruction`, `kl` and `elbo`, and how many latents are active.

    `elbo = -(reconstruction + kl)`: the evidence lower bound in nats, up to the constant of the
    likelihood that the reconstruction loss stands for. Higher is better. `active_latents` counts
    those whose mean has a variance over examples of more than 0.01 (Burda, Grosse & Salakhutdinov,
    "Importance weighted autoencoders", 2016, section 5.2).

    Args:
        latents: Their number `Z`.
    """

    def __init__(self, latents: int, name: str = "elbo_parts", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.latents = latents
        self.total = self.add_weight(shape=(2,), initializer="zeros", name="total")
        # Sums over examples, of each latent: the KL divergence, the mean and its square.
        self.sums = self.add_weight(shape=(3, latents), initializer="zeros", name="sums")

    def update_state(
        self, reconstruction: Tensor, kl: Tensor, mu: Tensor, sample_weight: Tensor = None
    ) -> None:
        """Takes `(B,)`, `(B, Z)` and `(B, Z)` in."""
        weight = ops.ones_like(reconstruction) if sample_weight is None else sample_weight
        self.total.assign_add(ops.stack([ops.sum(reconstruction * weight), ops.sum(weight)]))
        parts = ops.stack([kl, mu, ops.square(mu)])
        self.sums.assign_add(ops.sum(parts * weight[:, None], axis=1))

    def _means(self) -> tuple[Tensor, Tensor]:
        reconstruction, count = ops.unstack(ops.convert_to_tensor(self.total), 2)
        count = ops.maximum(count, 1e-12)
        return reconstruction / count, ops.convert_to_tensor(self.sums) / count

    @property
    def kl_per_latent(self) -> Tensor:
        """`(Z,)`, nats."""
        return self._means()[1][0]

    def result(self) -> dict[str, Tensor]:
        reconstruction, sums = self._means()
        kl, mean, square = ops.unstack(sums, 3)
        kl = ops.sum(kl)
        active = ops.sum(ops.cast(square - mean**2 > ACTIVE_VARIANCE, "float32"))
        return {
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": -(reconstruction + kl),
            "active_latents": active,
        }

    def get_config(self) -> JSON:
        return {**super().get_config(), "latents": self.latents}
