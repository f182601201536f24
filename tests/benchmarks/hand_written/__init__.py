"""The default networks written by hand in each framework, with the loop that trains them.

They do the work that `train` has the model do: the same layers and number of weights, missing
values as NaN, dropout, squared error and KL divergence, AdamW with weight decay, gradients clipped
by their global norm, a learning rate that rises and falls along a cosine. They have no scaler, no
metrics, no callbacks and no linear path, which the package pays for: no interpolation of what is
missing, no projection of the window and no way back. Only the default network, `mlp`, which sees
scores on components and gives such, has one fixed matrix to project with. Batches are where the
computation is, and ready before the clock starts.
"""

import importlib

import numpy as np

from ceneurovae.model.linear_path import LinearPath

LEARNING_RATE = 2e-3  # the highest, as in `train`


def make_loops(framework, config, batches, steps):
    """Functions that train for one epoch and wait for its end, by name, and the number of weights.

    Args:
        framework: `"jax"`, `"tensorflow"` or `"torch"`.
        config: `VAEConfig` with `seq_len`, `channels` and `reconstruction_loss="mse"`.
        batches: List of float32 arrays `(B, T, C)`, NaN for missing.
        steps: For how many the learning rate is laid out.
    """
    module = importlib.import_module(f"hand_written.{framework}_loop")
    return module.make_loops(config, batches, steps)


def projection(config):
    """Orthonormal `(T * C, M)`, as many components as the package's model has."""
    components = LinearPath(config.seq_len, config.channels).components
    size = config.seq_len * config.channels
    normal = np.random.default_rng(0).normal(size=(size, components))
    return np.linalg.qr(normal)[0].astype("float32")
