"""The fully connected network: nothing at first, and no growth far from the data."""

import keras
import numpy as np
import pytest
from keras import ops

from ceneurovae.model.mlp import CLIP, MLP


def as_numpy(values):
    return ops.convert_to_numpy(values)


def moved(**fields):
    """A network whose output layer is no longer zero."""
    keras.utils.set_random_seed(0)
    network = MLP(3, **{"hidden_dim": 8, "num_layers": 2, **fields})
    network.build((None, 4))
    rng = np.random.default_rng(0)
    network.readout.kernel.assign(rng.normal(size=network.readout.kernel.shape))
    return network


def rows(count=6):
    return np.random.default_rng(1).normal(size=(count, 4)).astype("float32")


@pytest.mark.parametrize("num_layers", [1, 3])
def test_it_starts_at_zero(num_layers):
    network = MLP(3, hidden_dim=8, num_layers=num_layers)
    y = as_numpy(network(rows()))
    assert y.shape == (6, 3) and (y == 0).all()
    assert len(network.trainable_weights) == 2 * (num_layers + 1)
    assert network.compute_output_shape((6, 4)) == (6, 3)


def test_it_is_what_its_weights_say():
    network, x = moved(), rows()
    h = x / np.sqrt(1 + np.square(x / CLIP))
    for layer in network.hidden:
        h = h @ as_numpy(layer.kernel) + as_numpy(layer.bias)
        h = h / (1 + np.exp(-h))
    expected = h @ as_numpy(network.readout.kernel) + as_numpy(network.readout.bias)
    np.testing.assert_allclose(as_numpy(network(x)), expected, rtol=1e-4, atol=1e-5)


def test_it_does_not_grow_far_from_the_data():
    network, x = moved(), np.sign(rows())
    at_the_limit = as_numpy(network(1e6 * x))
    np.testing.assert_allclose(as_numpy(network(1e4 * x)), at_the_limit, rtol=1e-3, atol=1e-3)
    corner = network.hidden[0](CLIP * x)
    np.testing.assert_allclose(
        at_the_limit, as_numpy(network.readout(network.hidden[1](corner))), rtol=1e-3, atol=1e-3
    )


def test_dropout_is_for_training_only():
    network, x = moved(dropout=0.5), rows()
    still = [as_numpy(network(x)) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    drawn = [as_numpy(network(x, training=True)) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any() and (drawn[0] != still[0]).any()


def test_its_config_makes_it_again():
    network, x = moved(dropout=0.25), rows()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert type(again) is MLP and again.get_config() == network.get_config()
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(as_numpy(again(x)), as_numpy(network(x)))
