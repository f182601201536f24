"""Dropout: as many units as asked for, independently of each other, and nothing else changed."""

import keras
import numpy as np
import pytest
from keras import ops

from ceneurovae.model.dropout import _DRAWS, Dropout

RATE = 0.05


def dropped(layer, *shape):
    """Which of so many ones a call in training drops, as numbers 0 and 1."""
    return (ops.convert_to_numpy(layer(np.ones(shape, "float32"), training=True)) == 0) * 1.0


def standardised(dropped):
    return (dropped - RATE) / np.sqrt(RATE * (1 - RATE))


@pytest.fixture
def calls():
    """Eight calls of one layer on an odd number of units each."""
    keras.utils.set_random_seed(0)
    layer = Dropout(RATE)
    return np.stack([dropped(layer, 51, 101, 33).ravel() for _ in range(8)])


def test_tensors_of_the_backend_are_known():
    assert type(ops.ones(1)).__module__.partition(".")[0] in _DRAWS


def test_share_is_the_rate(calls):
    assert abs(standardised(calls).mean()) * np.sqrt(calls.size) < 5


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 32, 33, 101 * 33])
def test_units_are_dropped_independently(calls, lag):
    z = standardised(calls)
    products = z[:, :-lag] * z[:, lag:]
    assert abs(products.mean()) * np.sqrt(products.size) < 5


def test_calls_are_independent(calls):
    z = standardised(calls)
    products = (z @ z.T / z.shape[1])[np.triu_indices(len(z), 1)]
    assert np.abs(products).max() * np.sqrt(z.shape[1]) < 5


def test_layers_are_independent():
    keras.utils.set_random_seed(0)
    first, second = (standardised(dropped(Dropout(RATE), 100_000)) for _ in range(2))
    assert abs((first * second).mean()) * np.sqrt(len(first)) < 5


def test_the_mean_is_kept():
    x = np.full((3, 5, 7), 2.0, "float32")
    y = ops.convert_to_numpy(Dropout(0.25)(x, training=True))
    assert y.shape == x.shape
    np.testing.assert_allclose(y[y != 0], 2 / 0.75, rtol=1e-6)
    # A rate that 16 bits do not hold is rounded, and what is kept is scaled by what it became.
    third = ops.convert_to_numpy(Dropout(1 / 3)(np.ones(200_000, "float32"), training=True))
    assert abs(third.mean() - 1) < 5 * np.sqrt(0.5 / third.size)


@pytest.mark.parametrize(("rate", "training"), [(RATE, False), (0.0, True)])
def test_nothing_is_dropped(rate, training):
    x = np.random.default_rng(0).normal(size=(4, 9)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(Dropout(rate)(x, training=training)), x)


def test_everything_is_dropped():
    assert dropped(Dropout(1.0), 4, 9).all()


@pytest.mark.parametrize("seed", [None, 7])
def test_draws_are_repeatable(seed):
    pairs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        layer = Dropout(RATE, seed=seed)
        pairs.append([dropped(layer, 64, 33) for _ in range(2)])
    np.testing.assert_array_equal(*pairs)
    assert (pairs[0][0] != pairs[0][1]).any()


def test_half_precision_stays():
    x = ops.ones((64, 33), "bfloat16")
    y = Dropout(0.5, dtype="bfloat16")(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert set(ops.convert_to_numpy(ops.cast(y, "float32")).ravel()) == {0.0, 2.0}
