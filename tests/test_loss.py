from functools import partial

import keras
import numpy as np
import pytest
from keras import ops
from scipy import special, stats

from ceneurovae import (
    kl_divergence,
    loss_bernoulli,
    loss_gaussian,
    loss_huber,
    loss_mse,
    loss_poisson,
)
from ceneurovae.model import kl_objective, log_factorial
from ceneurovae.model.likelihood import GaussianLikelihood, HuberLikelihood, Likelihood


def numpy_of(value):
    return ops.convert_to_numpy(value)


class Descent(keras.Model):
    """Has zeros to add to values, as weights: a step of gradient descent is the gradient there."""

    def __init__(self, function, values):
        super().__init__()
        self.function, self.start = function, values
        self.steps = [self.add_weight(shape=value.shape, initializer="zeros") for value in values]

    def call(self, inputs):
        return inputs

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        moved = [step + value for value, step in zip(self.start, self.steps, strict=True)]
        return ops.sum(self.function(*moved))


def gradients(function, *values):
    """Gradients of the sum of `function` with respect to each of its arguments."""
    model = Descent(function, [np.asarray(value, "float32") for value in values])
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    model.train_on_batch(np.zeros((1, 1), "float32"))
    return [-numpy_of(step) for step in model.steps]


def counts_with_rates():
    """`(4, 6, 3)` counts from 0 to 10,000, some missing, and logarithms of rates near and far."""
    rng = np.random.default_rng(0)
    rate = np.exp(rng.uniform(-4, np.log(1e4), size=(4, 6, 3)))
    counts = np.minimum(rng.poisson(rate), 10_000).astype("float32")
    log_rate = np.log(rate) + rng.choice([0.0, 0.0, -1.0, 2.0], size=rate.shape)
    counts[rng.random(counts.shape) < 0.2] = np.nan
    counts[0, :3, 0] = 0, 1, 10_000
    counts[3] = np.nan
    return counts, log_rate.astype("float32")


def states_with_logits():
    """`(4, 6, 3)` zeros and ones, some missing, and logits between sure and wrong."""
    rng = np.random.default_rng(0)
    states = (rng.random((4, 6, 3)) < 0.5).astype("float32")
    states[rng.random(states.shape) < 0.2] = np.nan
    states[3] = np.nan
    return states, (8 * rng.normal(size=states.shape)).astype("float32")


def sums(log_likelihood, y_true):
    """What a loss should be: minus the sum over what is observed."""
    return -np.where(np.isnan(y_true), 0, log_likelihood).sum((1, 2))


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


LOGVAR = np.float32([-3.0, 0.5, 4.0])


@pytest.mark.parametrize("shape", [(), (3,), (4, 6, 3)])
def test_gaussian_is_the_log_density(pair, shape):
    y_true, y_pred = pair
    y_true[0, 1:4, 2] = np.nan
    y_true[3] = np.nan
    logvar = np.random.default_rng(1).uniform(-5, 5, size=shape).astype("float32")
    expected = sums(stats.norm.logpdf(y_true, y_pred, np.exp(logvar / 2)), y_true)
    loss = numpy_of(loss_gaussian(y_true, y_pred, logvar))
    assert loss.shape == (4,) and loss[3] == 0
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gaussian_of_unit_variance_is_half_the_squared_error_and_a_constant(pair):
    constant = 0.5 * np.log(2 * np.pi) * 6 * 3
    expected = 0.5 * numpy_of(loss_mse(*pair)) + constant
    np.testing.assert_allclose(numpy_of(loss_gaussian(*pair, 0.0)), expected, rtol=1e-5)


def test_gaussian_is_least_at_the_variance_of_the_errors(pair):
    y_true, y_pred = pair
    y_true[:, :2, 0] = np.nan
    best = np.log(np.nanmean((y_true - y_pred) ** 2, axis=(0, 1)))
    _, slope = gradients(lambda y, logvar: loss_gaussian(y_true, y, logvar), y_pred, best)
    np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_poisson_is_the_log_probability():
    counts, log_rate = counts_with_rates()
    rate = np.exp(log_rate.astype("float64"))
    loss = numpy_of(loss_poisson(counts, log_rate))
    assert loss.shape == (4,) and loss[3] == 0
    expected = sums(stats.poisson.logpmf(counts, rate), counts)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_poisson_of_large_counts_does_not_cancel():
    counts = np.arange(10_001, dtype="float32")[:, None, None]
    log_rate = np.log(np.maximum(counts, 0.1))
    expected = -stats.poisson.logpmf(counts.astype("float64"), np.exp(log_rate.astype("float64")))
    loss = numpy_of(loss_poisson(counts, log_rate))
    np.testing.assert_allclose(loss, expected.sum((1, 2)), rtol=1e-5)


def test_poisson_probabilities_add_up_to_one():
    counts = np.arange(400, dtype="float32")[:, None, None]
    for rate in (0.01, 1.0, 5.0, 200.0):
        loss = numpy_of(loss_poisson(counts, np.full_like(counts, np.log(rate))))
        assert np.exp(-loss).sum() == pytest.approx(1, abs=1e-5)


def test_bernoulli_is_the_log_probability():
    states, logit = states_with_logits()
    loss = numpy_of(loss_bernoulli(states, logit))
    assert loss.shape == (4,) and loss[3] == 0
    probability = special.expit(logit.astype("float64"))
    expected = sums(stats.bernoulli.logpmf(np.nan_to_num(states), probability), states)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_bernoulli_keeps_small_losses_and_large_ones():
    logit = np.float32([-1000, -60, -20, 0, 20, 60, 1000])[:, None, None]
    for state in (0.0, 1.0):
        expected = np.logaddexp(0, (1 - 2 * state) * logit.astype("float64"))[:, 0, 0]
        loss = numpy_of(loss_bernoulli(np.full_like(logit, state), logit))
        np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-37)


def test_bernoulli_takes_probabilities(pair):
    target, logit = special.expit(pair[0]), pair[1]
    expected = (np.logaddexp(0, logit) - target * logit).sum((1, 2))
    np.testing.assert_allclose(numpy_of(loss_bernoulli(target, logit)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "y",
    [
        np.arange(10_001),
        np.float32([0.1, 0.25, 0.5, 0.75, 1.5, 2.5, 3.99, 4.01, 7.3, 100.25, 9999.5]),
        np.linspace(0.001, 12, 5000),
        np.logspace(4, 36, 100),
    ],
    ids=["counts", "between counts", "small", "large"],
)
def test_log_factorial_is_that_of_scipy(y):
    y = y.astype("float32")
    expected = special.gammaln(y.astype("float64") + 1)
    np.testing.assert_allclose(numpy_of(log_factorial(y)), expected, rtol=1e-6)


def test_log_factorial_of_zero_and_one_is_exactly_zero():
    np.testing.assert_array_equal(numpy_of(log_factorial(np.float32([0, 1]))), [0, 0])


LIKELIHOODS = {
    "gaussian": partial(loss_gaussian, logvar=LOGVAR),
    "poisson": loss_poisson,
    "bernoulli": loss_bernoulli,
}
MAKE = {
    "gaussian": states_with_logits,
    "poisson": counts_with_rates,
    "bernoulli": states_with_logits,
}
SLOPE = {
    "gaussian": lambda y, prediction: (prediction - y) / np.exp(LOGVAR),
    "poisson": lambda y, prediction: np.exp(prediction) - y,
    "bernoulli": lambda y, prediction: special.expit(prediction) - y,
}


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("wild", [1e4, np.inf, np.nan])
def test_gradients_are_exact_and_zero_where_nothing_was_observed(name, wild):
    y_true, prediction = MAKE[name]()
    missing = np.isnan(y_true)
    prediction[1, 2, 0] = 0.0
    prediction[missing] = wild
    (slope,) = gradients(lambda p: LIKELIHOODS[name](y_true, p), prediction)
    assert not slope[missing].any() and np.isfinite(slope).all()
    y, p = (np.where(missing, 0.0, value) for value in (y_true, prediction))
    expected = SLOPE[name](y, p)
    error = np.abs(slope - expected)[~missing]
    assert (error < 3e-6 * (1 + y + np.abs(expected))[~missing]).all()
    assert np.isfinite(numpy_of(LIKELIHOODS[name](y_true, prediction))).all()


def test_a_channel_that_is_never_observed_has_no_gradient_of_its_noise(pair):
    y_true, y_pred = pair
    y_true[..., 1] = np.nan
    of_mean, of_noise = gradients(
        lambda y, logvar: loss_gaussian(y_true, y, logvar), y_pred, [0.3, -200.0, -0.3]
    )
    assert of_noise[1] == 0 and not of_mean[..., 1].any()
    error = (y_true - y_pred)[..., [0, 2]]
    variance = np.exp(np.float32([0.3, -0.3]))
    expected = 0.5 * (1 - error**2 / variance).sum((0, 1))
    np.testing.assert_allclose(of_noise[[0, 2]], expected, rtol=1e-4)


def test_bernoulli_at_a_logit_of_zero_has_its_gradient():
    states = np.float32([0, 1])[:, None, None]
    (slope,) = gradients(lambda p: loss_bernoulli(states, p), np.zeros_like(states))
    np.testing.assert_allclose(slope.ravel(), [0.5, -0.5], rtol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_half_precision_goes_in_and_single_comes_out(name):
    y_true, prediction = (ops.cast(value, "bfloat16") for value in MAKE[name]())
    rounded = (numpy_of(ops.cast(value, "float32")) for value in (y_true, prediction))
    loss = LIKELIHOODS[name](y_true, prediction)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(numpy_of(loss), numpy_of(LIKELIHOODS[name](*rounded)), rtol=1e-6)


def test_log_factorial_of_half_precision_is_single():
    value = log_factorial(ops.cast([3.0, 200.0], "bfloat16"))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(numpy_of(value), special.gammaln([4, 201]), rtol=1e-6)


@pytest.mark.parametrize("loss", [loss_mse, loss_huber, *LIKELIHOODS.values()])
def test_missing_entries_do_not_count(pair, loss):
    y_true, y_pred = pair
    y_true[0, 0, :] = np.nan
    y_true[1] = np.nan
    y_true = np.abs(y_true)
    whole = numpy_of(loss(y_true[2:], y_pred[2:]))
    rest = numpy_of(loss(y_true[:1, 1:], y_pred[:1, 1:]))
    expected = [*rest, 0, *whole]
    np.testing.assert_allclose(numpy_of(loss(y_true, y_pred)), expected, rtol=1e-6)
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


@pytest.fixture
def kl():
    """`(8, 3)`: means over the batch of about 0.1, 1 and 3 nats."""
    return np.random.default_rng(0).exponential([0.1, 1, 3], size=(8, 3)).astype("float32")


def test_kl_objective_is_the_sum_over_latents(kl):
    np.testing.assert_array_equal(numpy_of(kl_objective(kl)), numpy_of(ops.sum(kl, axis=-1)))
    (slope,) = gradients(kl_objective, np.zeros_like(kl))
    np.testing.assert_array_equal(slope, 1)


@pytest.mark.parametrize("free_bits", [0.0, 0.05, 0.5, 2.0, 10.0])
def test_free_bits_are_the_least_a_latent_counts(kl, free_bits):
    expected = np.maximum(free_bits, kl.mean(0)).sum()
    objective = numpy_of(kl_objective(kl, free_bits=free_bits))
    assert objective.shape == (8,)
    assert objective.mean() == pytest.approx(expected, rel=1e-5)


def test_a_latent_below_its_free_bits_has_no_gradient(kl):
    (slope,) = gradients(lambda kl: kl_objective(kl, free_bits=0.5), kl)
    np.testing.assert_array_equal(slope, np.broadcast_to([0, 1, 1], kl.shape))
    constant = numpy_of(kl_objective(kl, free_bits=100.0))
    np.testing.assert_array_equal(constant, np.full(8, 300, "float32"))


@pytest.mark.parametrize("free_bits", [0.0, 0.5])
def test_capacity_is_where_the_kl_is_drawn_to(kl, free_bits):
    floored = numpy_of(kl_objective(kl, free_bits=free_bits))
    objective = numpy_of(kl_objective(kl, free_bits=free_bits, capacity=4.0))
    np.testing.assert_allclose(objective, np.abs(floored - 4), rtol=1e-6)
    (slope,) = gradients(lambda kl: kl_objective(kl, free_bits, 4.0), kl)
    direction = np.sign(floored - 4)
    assert set(direction) == {-1, 1}
    np.testing.assert_array_equal(slope, direction[:, None] * [free_bits == 0, 1, 1])


def test_capacity_may_be_a_weight(kl):
    capacity = keras.Variable(0.0, dtype="float32")
    np.testing.assert_allclose(numpy_of(kl_objective(kl, capacity=capacity)), kl.sum(-1), rtol=1e-6)
    capacity.assign(2.5)
    expected = numpy_of(kl_objective(kl, capacity=2.5))
    np.testing.assert_array_equal(numpy_of(kl_objective(kl, capacity=capacity)), expected)


def test_kl_objective_of_half_precision_is_single(kl):
    half = ops.cast(kl, "bfloat16")
    objective = kl_objective(half, free_bits=0.3, capacity=1.7)
    assert keras.backend.standardize_dtype(objective.dtype) == "float32"
    expected = kl_objective(numpy_of(ops.cast(half, "float32")), free_bits=0.3, capacity=1.7)
    np.testing.assert_allclose(numpy_of(objective), numpy_of(expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("free_bits", -0.5, "Use 0 to count the KL of every latent."),
        ("capacity", -2, "Use 0 to have the KL as small as it gets."),
        ("capacity", np.float32("nan"), "Use 0 to have the KL as small as it gets."),
    ],
)
def test_kl_objective_refuses_what_is_below_zero(kl, name, value, advice):
    with pytest.raises(ValueError) as error:
        kl_objective(kl, **{name: value})
    assert str(error.value) == f"{name} is {value}, expected a number of nats, 0 or above. {advice}"


NAMES = (loss_gaussian, loss_poisson, loss_bernoulli, log_factorial, kl_objective)


@pytest.mark.parametrize("function", NAMES, ids=lambda function: function.__name__)
def test_what_a_saved_file_may_name_is_registered(function):
    name = keras.saving.get_registered_name(function)
    assert name == f"ceneurovae>{function.__name__}"
    assert keras.saving.get_registered_object(name) is function


@pytest.mark.parametrize("reduction", ["total", None, ""])
def test_an_unknown_reduction_is_refused(reduction):
    x = np.zeros((1, 2, 1), "float32")
    for loss in (loss_mse, loss_huber, loss_poisson, loss_bernoulli, partial(loss_gaussian, x, x)):
        given = (0.0,) if isinstance(loss, partial) else (x, x)
        with pytest.raises(ValueError, match="reduction is .*, expected one of sum, mean"):
            loss(*given, reduction=reduction)
    for likelihood in (Likelihood, HuberLikelihood, GaussianLikelihood):
        with pytest.raises(ValueError, match="reduction is .*, expected one of sum, mean"):
            likelihood(reduction=reduction)


@pytest.mark.parametrize("delta", [0, -1.0, float("nan")])
def test_a_delta_that_is_not_above_zero_is_refused(delta):
    x = np.zeros((1, 2, 1), "float32")
    for huber in (partial(loss_huber, x, x), HuberLikelihood):
        with pytest.raises(ValueError, match="delta is .*, expected a number above 0"):
            huber(delta=delta)
