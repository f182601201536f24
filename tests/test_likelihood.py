"""Likelihoods: their derivatives are those of their losses, and their scale is that of the data."""

import numpy as np
import pytest
import scipy.stats
from conftest import make_windows, tiny_config
from keras import ops

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.model import ChannelScaler
from ceneurovae.model.likelihood import make_likelihood

LOSSES = ("gaussian", "mse", "huber", "poisson", "bernoulli")


def case(loss, **fields):
    """A likelihood, data for it with missing entries, its scaler, and some decoder output."""
    x, rng = make_windows(20), np.random.default_rng(0)
    missing = np.isnan(x)
    if loss == "poisson":
        x = rng.poisson([0.3, 2.0, 9.0], size=x.shape).astype("float32")
    if loss == "bernoulli":
        x = rng.binomial(1, [0.1, 0.5, 0.8], size=x.shape).astype("float32")
    x[missing] = np.nan
    scaler = ChannelScaler()
    scaler.adapt(x)
    likelihood = make_likelihood(tiny_config(reconstruction_loss=loss, **fields))
    likelihood.build((None, 12, 3))
    if loss == "gaussian":
        likelihood.variance.assign([0.3, 1.0, 2.0])
    scaled = 0.3 * rng.normal(size=x.shape).astype("float32")
    return likelihood, x, scaler, scaled


def loss_of(likelihood, x, scaled, scaler):
    expected = likelihood.expectation(ops.convert_to_tensor(scaled), scaler)
    return ops.convert_to_numpy(likelihood.loss(x, expected, scaler))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("loss", LOSSES)
def test_pull_is_minus_the_derivative_of_the_loss(loss, reduction):
    likelihood, x, scaler, scaled = case(loss, reduction=reduction)
    pull, curvature = (
        ops.convert_to_numpy(part)
        for part in likelihood.pull(x, ops.convert_to_tensor(scaled), scaler)
    )
    missing = np.isnan(x)
    assert (pull[missing] == 0).all() and (curvature[missing] == 0).all()
    assert (curvature[~missing] > 0).all()
    for entry in [(3, 4, 0), (7, 0, 1), (12, 11, 2), (5, 5, 1)]:
        if missing[entry]:
            continue
        values = []
        for sign in (-1, 1):
            moved = scaled.copy()
            moved[entry] += sign * 0.05
            values.append(float(loss_of(likelihood, x, moved, scaler)[entry[0]]))
        slope = -(values[1] - values[0]) / 0.1
        assert slope == pytest.approx(
            pull[entry], rel=0.03, abs=2e-3 if reduction == "sum" else 1e-4
        )


def test_losses_in_nats_are_those_of_scipy():
    likelihood, x, scaler, scaled = case("gaussian")
    y = ops.convert_to_numpy(scaler(x))
    densities = scipy.stats.norm.logpdf(y, scaled, np.sqrt([0.3, 1.0, 2.0]))
    found = loss_of(likelihood, x, scaled, scaler)
    np.testing.assert_allclose(found, -np.nansum(densities, axis=(1, 2)), rtol=1e-4)
    for loss, family in (("poisson", scipy.stats.poisson), ("bernoulli", scipy.stats.bernoulli)):
        likelihood, x, scaler, scaled = case(loss)
        expected = ops.convert_to_numpy(
            likelihood.expectation(ops.convert_to_tensor(scaled), scaler)
        )
        masses = np.where(np.isnan(x), 0, family.logpmf(np.nan_to_num(x), expected))
        found = loss_of(likelihood, x, scaled, scaler)
        np.testing.assert_allclose(found, -masses.sum(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_output_of_one_is_a_standard_deviation_near_the_mean(loss):
    likelihood, _, scaler, _ = case(loss)
    outputs = np.full((2, 12, 3), [[[0.0]], [[1e-2]]], "float32")
    low, high = ops.convert_to_numpy(likelihood.expectation(ops.convert_to_tensor(outputs), scaler))
    mean, std = ops.convert_to_numpy(scaler.mean), ops.convert_to_numpy(scaler.std)
    np.testing.assert_allclose(low[0], mean, rtol=1e-4)
    np.testing.assert_allclose((high - low)[0] / 1e-2, std, rtol=0.05)


@pytest.mark.parametrize("loss", LOSSES)
def test_deviance_is_a_distance(loss):
    likelihood, x, scaler, scaled = case(loss)
    at_data = ops.convert_to_numpy(likelihood.deviance(x, likelihood.nearest(x), scaler))
    np.testing.assert_allclose(at_data, 0, atol=1e-3)
    away = likelihood.deviance(
        x, likelihood.expectation(ops.convert_to_tensor(scaled), scaler), scaler
    )
    assert (ops.convert_to_numpy(away) > 0.1).all()


@pytest.mark.parametrize("noise", ["shared", "channel"])
def test_the_noise_level_is_the_mean_squared_error(noise):
    likelihood, x, scaler, scaled = case("gaussian", noise=noise)
    expected = likelihood.expectation(ops.convert_to_tensor(scaled), scaler)
    error = np.square(ops.convert_to_numpy(scaler(x)) - scaled)
    level = np.nanmean(error, axis=(0, 1)) if noise == "channel" else np.full(3, np.nanmean(error))
    for _ in range(400):
        likelihood.follow(x, expected, scaler)
    np.testing.assert_allclose(ops.convert_to_numpy(likelihood.variance), level, rtol=1e-2)
    likelihood.calibrate(x, expected, scaler)
    np.testing.assert_allclose(ops.convert_to_numpy(likelihood.variance), level, rtol=1e-3)
    likelihood.calibrate(np.full_like(x, np.nan), expected, scaler)
    np.testing.assert_allclose(ops.convert_to_numpy(likelihood.variance), level, rtol=1e-3)


@pytest.mark.parametrize(
    ("loss", "value", "message"),
    [
        ("poisson", -1.0, "The data holds -1, but this likelihood is for counts"),
        ("bernoulli", 2.0, "The data holds 2, but this likelihood is for zeros and ones"),
        ("bernoulli", -0.5, "The data holds -0.5"),
    ],
)
def test_values_without_a_probability_are_refused(loss, value, message):
    likelihood, x, _, _ = case(loss)
    likelihood.require(x)
    x[3, 4, 1] = value
    with pytest.raises(ValueError, match=message):
        likelihood.require(x)
    with pytest.raises(ValueError, match=message):
        NeuroBehaviorVAE(tiny_config(reconstruction_loss=loss)).adapt(x)
