"""Improves a posterior on the decoder: on new data it is the encoder that errs, not the decoder."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from keras import ops

from ceneurovae.hints import Tensor

if TYPE_CHECKING:
    from ceneurovae.model.vae import NeuroBehaviorVAE

# Steps where refinement is asked for.
REFINE = 10
# Finite difference by which the decoder is moved along each latent, in prior deviations.
DIFFERENCE = 1e-2
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-4, 1e4
FACTOR = 5.0
# So few steps are written out, which compiles faster than a loop.
UNROLLED = 3
# A step is taken unless the loss grows by more than float32 may by itself: where it is as good as
# before, rounding would decide, which is not the same on two backends.
ROUNDING = 1e-5
# A window is done once a step moves no latent by more than this.
TOLERANCE = 1e-3


def refine_posterior(
    model: "NeuroBehaviorVAE", x: Tensor, mu: Tensor, logvar: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """The mode of the posterior, and the variances of the normal distribution that fits there.

    Maximises `log p(x | z) - |z|^2 / 2` over `z` from `mu`, with the decoder and its likelihood, by
    damped Gauss-Newton steps (Levenberg, 1944; Marquardt, 1963), each window with a damping of its
    own. `logvar` becomes `-log(1 + sum_n w_n J_nz^2)`, with `J` the derivative of the decoder's
    output and `w` the curvature of the loss: of all normal distributions with independent latents
    the closest to the posterior (Opper & Archambeau, "The variational Gaussian approximation
    revisited", 2009), where the decoder is linear.

    Args:
        model: The VAE: its `decoder`, `likelihood` and `scaler`.
        x: `(B, T, C)`, raw units, NaN where missing.
        mu: `(B, Z)`, where to begin.
        logvar: `(B, Z)`, kept where no step is made.
        steps: Steps at most. A window that no longer moves is left as it is, so that what becomes
            of it does not depend on the others in its batch.

    Returns:
        `(mu, logvar)`, each `(B, Z)`, float32.
    """
    mu = ops.cast(mu, "float32")
    latents = mu.shape[-1]

    def loss(z: Tensor) -> Tensor:
        scaled = _decoded(model, z)
        expected = model.likelihood.expectation(scaled, model.scaler)
        misfit = model.likelihood.loss(x, expected, model.scaler)
        return misfit + 0.5 * ops.sum(ops.square(z), axis=-1)

    def derivative(z: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient `(B, Z)` and Gauss-Newton matrix `(B, Z, Z)` of minus the loss."""
        scaled, jacobian = slopes(lambda z: _decoded(model, z), z)
        entries = jacobian.shape[-1]
        pull, curvature = model.likelihood.pull(x, scaled, model.scaler)
        gradient = ops.matmul(jacobian, ops.reshape(pull, (-1, entries, 1)))[..., 0] - z
        weighted = jacobian * ops.reshape(curvature, (-1, 1, entries))
        matrix = ops.matmul(weighted, ops.transpose(jacobian, (0, 2, 1)))
        return gradient, matrix + ops.eye(latents, dtype="float32")

    def improve(
        step: Tensor, z: Tensor, best: Tensor, damping: Tensor, diagonal: Tensor, moving: Tensor
    ) -> tuple[Tensor, ...]:
        gradient, matrix = derivative(z)
        current = ops.diagonal(matrix, axis1=-2, axis2=-1)
        diagonal = ops.where(moving[:, None], current, diagonal)
        damped = matrix + (damping * current)[..., None] * ops.eye(latents, dtype="float32")
        change = ops.solve(damped, gradient[..., None])[..., 0]
        new = loss(z + change)
        better = new <= best + ROUNDING * (1.0 + ops.abs(best))
        taken = ops.logical_and(better, moving)
        z = ops.where(taken[:, None], z + change, z)
        best = ops.where(taken, new, best)
        damping = ops.where(better[:, None], damping / FACTOR, damping * FACTOR)
        damping = ops.clip(damping, LEAST_DAMPING, MOST_DAMPING)
        moved = ops.any(ops.abs(change) > TOLERANCE, axis=-1)
        return step + 1, z, best, damping, diagonal, ops.logical_and(moving, moved)

    def unfinished(
        step: Tensor, z: Tensor, best: Tensor, damping: Tensor, diagonal: Tensor, moving: Tensor
    ) -> Tensor:
        return ops.logical_and(step < steps, ops.any(moving))

    if not steps:
        return mu, ops.cast(logvar, "float32")
    state = (
        ops.convert_to_tensor(0, "int32"),
        mu,
        loss(mu),
        FIRST_DAMPING * ops.ones_like(mu[:, :1]),
        ops.ones_like(mu),
        ops.ones_like(mu[:, 0], dtype="bool"),
    )
    if steps <= UNROLLED:
        for _ in range(steps):
            state = improve(*state)
    else:
        state = ops.while_loop(unfinished, improve, state)
    _, mu, _, _, diagonal, _ = state
    return mu, -ops.log(diagonal)


def slopes(decode: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Windows `(B, T, C)` of latents `(B, Z)`, and their derivatives `(B, Z, T * C)`.

    By finite differences, which takes no more than the forward pass on any backend.
    """
    window = decode(z)
    latents, entries = z.shape[-1], window.shape[1] * window.shape[2]
    moved = z[:, None] + DIFFERENCE * ops.eye(latents, dtype="float32")
    moved = ops.reshape(decode(ops.reshape(moved, (-1, latents))), (-1, latents, entries))
    return window, (moved - ops.reshape(window, (-1, 1, entries))) / DIFFERENCE


def _decoded(model: "NeuroBehaviorVAE", z: Tensor) -> Tensor:
    return ops.cast(model.decoder(z), "float32")
