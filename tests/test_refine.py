"""Refinement: the mode of the posterior, whatever the likelihood and whatever is missing."""

import keras
import numpy as np
import pytest
from conftest import tiny_config
from keras import ops

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.model.refine import TOLERANCE


def moved_model(x, **fields):
    """A model whose network counts, with an encoder that is off."""
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(**fields))
    model.adapt(x)
    rng = np.random.default_rng(0)
    for weight in model.decoder.trainable_weights + model.encoder.trainable_weights:
        weight.assign_add(rng.normal(scale=0.1, size=weight.shape))
    return model


def objective(model, x, mu):
    """What refinement minimises, `(N,)`."""
    misfit = model.likelihood.loss(x, model.decode(mu), model.scaler)
    return ops.convert_to_numpy(misfit) + 0.5 * np.square(mu).sum(axis=1)


def test_on_a_linear_decoder_it_is_exact_whatever_is_missing(windows):
    model = moved_model(windows, backbone="linear")
    windows[0] = np.nan
    mu, logvar = model.encode(windows, refine=20)
    z = np.concatenate([np.zeros((1, 2)), np.eye(2)]).astype("float32")
    decoded = ops.convert_to_numpy(model.scaler(model.decode(z))).reshape(3, -1)
    loadings = (decoded[1:] - decoded[0]).astype("float64")
    precision = 1 / float(ops.convert_to_numpy(model.likelihood.variance)[0])
    rows = ops.convert_to_numpy(model.scaler(windows)).reshape(len(windows), -1) - decoded[0]
    for row, mean, variance in zip(rows, mu, np.exp(logvar), strict=True):
        seen = ~np.isnan(row)
        matrix = np.eye(2) + precision * loadings[:, seen] @ loadings[:, seen].T
        exact = np.linalg.solve(matrix, precision * loadings[:, seen] @ row[seen])
        np.testing.assert_allclose(mean, exact, atol=1e-3)
        np.testing.assert_allclose(variance, 1 / np.diag(matrix), rtol=1e-3)
    np.testing.assert_allclose(mu[0], 0, atol=1e-6)


@pytest.mark.parametrize("loss", ["gaussian", "huber", "poisson", "bernoulli"])
def test_no_window_gets_worse_and_most_get_better(windows, loss):
    x = windows
    if loss in ("poisson", "bernoulli"):
        rate = np.exp(np.nan_to_num((x - np.nanmean(x, (0, 1))) / np.nanstd(x, (0, 1))))
        drawn = np.random.default_rng(0).poisson(rate)
        x = np.where(np.isnan(x), np.nan, drawn if loss == "poisson" else drawn > 0)
        x = x.astype("float32")
    model = moved_model(x, reconstruction_loss=loss)
    before, after = (objective(model, x, model.encode(x, refine=n).mu) for n in (0, 8))
    assert (after <= before + 1e-4 * np.abs(before)).all()
    assert np.median(before - after) > 0


def test_the_steps_of_the_encoder_are_refinement(windows):
    plain = moved_model(windows)
    stepped = NeuroBehaviorVAE(tiny_config(encoder_steps=2))
    stepped.set_weights(plain.get_weights())
    # Whether a window has come to rest may be a matter of rounding, and be decided in another way
    # where the same is compiled as part of something else.
    for first, second in zip(plain.encode(windows, refine=2), stepped.encode(windows), strict=True):
        np.testing.assert_allclose(first, second, atol=TOLERANCE)
    output = stepped.predict(windows, verbose=0)
    difference = np.abs(output.mu - stepped.encode(windows).mu).max(axis=1)
    assert difference.max() < TOLERANCE
    assert np.mean(difference < 1e-5) > 0.9
    reconstruction = stepped.reconstruct(windows, refine=1)
    np.testing.assert_allclose(
        reconstruction, plain.reconstruct(windows, refine=3), rtol=1e-3, atol=1e-3
    )
