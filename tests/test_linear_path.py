"""The linear path: principal components of windows, and the exact posterior that they give."""

import keras
import numpy as np
import pytest
from conftest import tiny_config
from keras import ops
from sklearn.decomposition import PCA

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.evaluation import log_importance_weights
from ceneurovae.model import LinearPath, linear_path
from ceneurovae.model.linear_path import SHRINKAGES, fit_subspace
from ceneurovae.model.missing import interpolate

STEPS, CHANNELS = 5, 3


def factor_data(count, factors=2, noise=0.5, seed=0):
    """Windows `(count, 5, 3)` of a linear-Gaussian model with known loadings."""
    rng = np.random.default_rng(1)
    loadings = rng.normal(size=(factors, STEPS * CHANNELS))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, factors)) @ loadings
    x += noise * rng.normal(size=x.shape)
    return x.reshape(count, STEPS, CHANNELS).astype("float32")


def fitted_path(x, latents=2, **settings):
    path = LinearPath(*x.shape[1:])
    path.build()
    fitted, chosen = fit_subspace(path, lambda: [x], latents, **settings)
    path.assign(fitted)
    return path, chosen


def as_numpy(values):
    return ops.convert_to_numpy(values)


def test_missing_values_are_interpolated_in_time():
    x = np.random.default_rng(0).normal(size=(30, 9, 2)).astype("float32")
    x[np.random.default_rng(1).random(x.shape) < 0.5] = np.nan
    x[0, :, 0] = np.nan
    filled = as_numpy(interpolate(ops.convert_to_tensor(x)))
    for window, result in zip(x, filled, strict=True):
        for channel in range(2):
            seen = np.flatnonzero(~np.isnan(window[:, channel]))
            expected = np.zeros(9)
            if len(seen):
                expected = np.interp(np.arange(9), seen, window[seen, channel])
            np.testing.assert_allclose(result[:, channel], expected, rtol=1e-5, atol=1e-6)


def test_few_channels_are_computed_another_way_with_the_same_result(monkeypatch):
    x = factor_data(20)
    path, _ = fitted_path(x, shrinkage=0.5)
    found = []
    for few in (CHANNELS, 0):
        monkeypatch.setattr(linear_path, "FEW_CHANNELS", few)
        scores = as_numpy(path.project(x))
        found.append((scores, as_numpy(path.inverse(scores[:, :4]))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_components_are_orthonormal_and_a_full_basis_loses_nothing():
    x = factor_data(100)
    path, _ = fitted_path(x, shrinkage=0.5)
    scores = path(x)
    np.testing.assert_allclose(as_numpy(path.inverse(scores)), x, atol=1e-4)
    rows = as_numpy(path.inverse(np.eye(15, dtype="float32"))).reshape(15, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(15), atol=1e-5)


def test_few_components_give_a_projection():
    x = np.random.default_rng(0).normal(size=(40, 50, 5)).astype("float32")
    path, _ = fitted_path(x)
    once = path.inverse(path(x))
    assert path.components < 50 * 5
    np.testing.assert_allclose(as_numpy(path.inverse(path(once))), as_numpy(once), atol=1e-4)


def test_without_shrinkage_it_is_probabilistic_pca():
    x = factor_data(4000)
    x -= x.mean(axis=0)
    path, _ = fitted_path(x, shrinkage=0.0)
    reference = PCA(2).fit(x.reshape(len(x), -1))
    np.testing.assert_allclose(
        as_numpy(path.variances)[:2], reference.explained_variance_, rtol=1e-3
    )
    assert float(as_numpy(path.noise)) == pytest.approx(reference.noise_variance_, rel=1e-3)
    rows = as_numpy(path.inverse(np.eye(2, dtype="float32"))).reshape(2, -1)
    overlap = np.abs(np.sum(rows * reference.components_, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


def test_the_posterior_is_exact():
    x = factor_data(2000)
    path, _ = fitted_path(x, shrinkage=0.0)
    mu, logvar = map(as_numpy, path.posterior(path(x), 2))
    noise = float(as_numpy(path.noise))
    loadings = as_numpy(path.inverse(path.expectation(np.eye(2, dtype="float32")))).reshape(2, -1)
    covariance = np.linalg.inv(np.eye(2) + loadings @ loadings.T / noise)
    expected = x.reshape(len(x), -1) @ loadings.T @ covariance / noise
    np.testing.assert_allclose(mu, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(logvar), np.diag(covariance), rtol=1e-4)


def test_latents_beyond_the_components_have_the_prior():
    path, _ = fitted_path(factor_data(100))
    mu, logvar = path.posterior(path(factor_data(3)), 20)
    assert mu.shape[-1] == logvar.shape[-1] == 20
    assert (as_numpy(mu)[:, 15:] == 0).all() and (as_numpy(logvar)[15:] == 0).all()


def test_shrinkage_is_chosen_on_validation_data():
    # Few windows in many dimensions, whose true components are those of the basis.
    rng = np.random.default_rng(0)
    path = LinearPath(20, 4)
    path.build()
    slow = as_numpy(path.inverse(np.diag(np.linspace(3, 0.3, 80)).astype("float32")))

    def draw(count):
        return np.einsum("nm,mtc->ntc", rng.normal(size=(count, 80)), slow).astype("float32")

    train, valid = draw(10), draw(500)
    _, chosen = fitted_path(train, latents=8, valid=lambda: [valid])
    assert chosen["shrinkage"] in SHRINKAGES and chosen["shrinkage"] > 0
    given = {"shrinkage": 0.3, "slowness": 1.5}
    assert fitted_path(train, **given)[1] == given
    assert fitted_path(train, valid=lambda: [valid], **given)[1] == given


def test_slowness_is_chosen_where_recordings_drift():
    """What changes within a window is the same later; what is slow has gone elsewhere."""
    rng = np.random.default_rng(0)
    fast = np.sin(np.arange(20))[:, None] * rng.normal(size=(3, 1, 4))

    def draw(count, drift):
        x = np.einsum("nm,mtc->ntc", rng.normal(size=(count, 3)), fast)
        return (x + drift * rng.normal(size=(count, 1, 4))).astype("float32")

    train, same, later = draw(300, 0.2), draw(300, 0.2), draw(300, 5.0)
    assert fitted_path(train, latents=3, valid=lambda: [same])[1]["slowness"] == 0
    path, chosen = fitted_path(train, latents=3, valid=lambda: [later])
    assert chosen["slowness"] > 0
    slow = as_numpy(path.inverse(np.eye(3, dtype="float32"))).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(20 * np.square(slow).sum(axis=(1, 2)), 1, atol=0.05)


def linear_model(x, **fields):
    keras.utils.set_random_seed(0)
    config = tiny_config(seq_len=STEPS, backbone="linear", **fields)
    model = NeuroBehaviorVAE(config)
    model.adapt(x, shrinkage=0.0)
    return model


def closed_form(model, x):
    """Log-likelihood of each window under the model's own loadings and noise, in closed form."""
    rows = as_numpy(model.scaler(x)).reshape(len(x), -1).astype("float64")
    z = np.concatenate([np.zeros((1, 2)), np.eye(2)]).astype("float32")
    decoded = as_numpy(model.scaler(model.decode(z))).reshape(3, -1).astype("float64")
    noise = float(as_numpy(model.likelihood.variance)[0])
    loadings, rows = decoded[1:] - decoded[0], rows - decoded[0]
    covariance = loadings.T @ loadings + noise * np.eye(rows.shape[1])
    _, logdet = np.linalg.slogdet(2 * np.pi * covariance)
    return -0.5 * (logdet + np.einsum("ni,ij,nj->n", rows, np.linalg.inv(covariance), rows))


@pytest.mark.parametrize("epochs", [0, 4])
def test_the_elbo_of_a_linear_model_is_the_exact_likelihood(epochs):
    train, test = factor_data(3000), factor_data(400, seed=2)
    model = linear_model(train)
    if epochs:
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(train, epochs=epochs, batch_size=100, verbose=0)
    scaled = as_numpy(model.scaler(train)).reshape(len(train), -1)
    held_out = as_numpy(model.scaler(test)).reshape(len(test), -1)
    best = PCA(2).fit(scaled).score(held_out)  # maximum likelihood, on the same training data
    weights = log_importance_weights(model, test, model.encode(test), 25, np.random.default_rng(0))
    assert weights.mean() == pytest.approx(best, rel=0.01)
    assert closed_form(model, test).mean() == pytest.approx(best, rel=0.01)


def test_the_importance_weighted_bound_rises_to_the_likelihood():
    model = linear_model(factor_data(2000))
    test = factor_data(300, seed=2)
    exact = closed_form(model, test)
    posterior = model.encode(test)
    rng = np.random.default_rng(0)
    # With the exact posterior every draw has the same weight.
    weights = log_importance_weights(model, test, posterior, 5, rng)
    np.testing.assert_allclose(weights, np.tile(exact[:, None], 5), rtol=1e-3, atol=1e-2)
    # With one that is off, the ELBO is below, and draws together come near.
    off = (posterior.mu + 0.1, posterior.logvar + 1.0)
    weights = log_importance_weights(model, test, off, 64, rng)
    bounds = [
        np.mean(np.logaddexp.reduce(weights.reshape(300, -1, k), axis=2) - np.log(k))
        for k in (1, 4, 16, 64)
    ]
    assert bounds[0] == pytest.approx(weights.mean(), rel=1e-9)
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(exact.mean(), rel=0.005)
