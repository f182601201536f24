"""What a fit measures: weight-1 means per example, and active latents."""

import numpy as np
import pytest
from keras import ops

from ceneurovae.model.metrics import ELBOParts


def test_the_parts_are_means_over_examples_of_all_batches():
    rng = np.random.default_rng(0)
    reconstruction, kl = rng.random(30), rng.random((30, 3))
    # Variances: 1; none; below 0.01.
    mu = np.stack([np.tile([1.0, -1.0], 15), np.full(30, 5.0), 0.05 * np.ones(30)], axis=1)
    mu[::2, 2] *= -1
    weight = np.r_[np.ones(28), 0, 0]
    parts = ELBOParts(3)
    for rows in (slice(0, 10), slice(10, 30)):
        arrays = (reconstruction[rows], kl[rows], mu[rows], weight[rows])
        parts.update_state(*(ops.convert_to_tensor(a.astype("float32")) for a in arrays))
    found = {name: float(ops.convert_to_numpy(value)) for name, value in parts.result().items()}
    expected = reconstruction[:28].mean(), kl[:28].sum(axis=1).mean()
    assert found["reconstruction"] == pytest.approx(expected[0], rel=1e-5)
    assert found["kl"] == pytest.approx(expected[1], rel=1e-5)
    assert found["elbo"] == pytest.approx(-sum(expected), rel=1e-5)
    assert found["active_latents"] == 1
    per_latent = ops.convert_to_numpy(parts.kl_per_latent)
    np.testing.assert_allclose(per_latent, kl[:28].mean(axis=0), rtol=1e-5)
