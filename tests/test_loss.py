import numpy as np
import pytest
from keras import ops

from ceneurovae import kl_divergence, loss_huber, loss_mse


def numpy_of(value):
    return ops.convert_to_numpy(value)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 4, 6, 3)).astype("float32") * 2


def test_mse_is_the_sum_of_squares(pair):
    y_true, y_pred = pair
    expected = np.square(y_true - y_pred).sum((1, 2))
    np.testing.assert_allclose(numpy_of(loss_mse(y_true, y_pred)), expected, rtol=1e-5)


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_huber_follows_its_definition(pair, delta):
    y_true, y_pred = pair
    e = np.abs(y_true - y_pred)
    expected = np.where(e <= delta, 0.5 * e**2, delta * (e - 0.5 * delta)).sum((1, 2))
    np.testing.assert_allclose(numpy_of(loss_huber(y_true, y_pred, delta)), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [loss_mse, loss_huber])
def test_missing_entries_do_not_count(pair, loss):
    y_true, y_pred = pair
    y_true[0, 0, :] = np.nan
    y_true[1] = np.nan
    zeroed = np.where(np.isnan(y_true), y_pred, y_true)
    np.testing.assert_allclose(
        numpy_of(loss(y_true, y_pred)), numpy_of(loss(zeroed, y_pred)), rtol=1e-6
    )
    mean = numpy_of(loss(y_true, y_pred, reduction="mean"))
    np.testing.assert_allclose(mean[0] * 15, numpy_of(loss(y_true, y_pred))[0], rtol=1e-5)
    assert mean[1] == 0


def test_kl_is_the_closed_form_and_zero_at_the_prior():
    rng = np.random.default_rng(0)
    mu, logvar = rng.normal(size=(2, 100, 5)).astype("float32")
    kl = numpy_of(kl_divergence(mu, logvar))
    # KL(N(m, s^2) || N(0, 1)) = log(1/s) + (s^2 + m^2) / 2 - 1/2
    s = np.exp(logvar / 2)
    np.testing.assert_allclose(kl, np.log(1 / s) + (s**2 + mu**2) / 2 - 0.5, atol=1e-5)
    assert (kl >= 0).all()
    assert not numpy_of(kl_divergence(np.zeros((2, 3)), np.zeros((2, 3)))).any()


def test_kl_is_that_of_many_draws():
    mu, logvar = np.float32([[0.7]]), np.float32([[-1.2]])
    z = 0.7 + np.exp(-0.6) * np.random.default_rng(0).normal(size=400_000)
    log_posterior = -0.5 * ((z - 0.7) ** 2 / np.exp(-1.2) - 1.2)
    estimate = (log_posterior + 0.5 * z**2).mean()
    assert numpy_of(kl_divergence(mu, logvar))[0, 0] == pytest.approx(estimate, abs=0.01)
