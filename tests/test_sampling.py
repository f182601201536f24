import keras
import numpy as np
from keras import ops

from ceneurovae.model import Sampling


def test_mean_and_variance_of_the_draws():
    mu = np.tile(np.float32([[-1.0, 2.0]]), (40_000, 1))
    logvar = np.tile(np.float32([[0.0, -2.0]]), (40_000, 1))
    z = ops.convert_to_numpy(Sampling(seed=0)((mu, logvar)))
    # Four standard errors of a mean and of a variance of 40,000 draws.
    np.testing.assert_allclose(z.mean(0), [-1, 2], atol=4 / 200)
    np.testing.assert_allclose(z.var(0), [1, np.exp(-2)], rtol=4 * np.sqrt(2) / 200)
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / 200


def test_a_seed_repeats_the_sequence_and_draws_differ():
    mu = logvar = np.zeros((3, 2), "float32")
    first, second = Sampling(seed=3), Sampling(seed=3)
    draws = [ops.convert_to_numpy(layer((mu, logvar))) for layer in (first, second, first)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()


@keras.saving.register_keras_serializable(package="tests")
class Draw(keras.layers.Layer):
    """Draws once from a posterior whose parameters are weights."""

    def __init__(self):
        super().__init__()
        self.mu = self.add_weight(shape=(1, 4), initializer="ones", name="mu")
        self.logvar = self.add_weight(shape=(1, 4), initializer="ones", name="logvar")
        self.sampling = Sampling(seed=5)

    def call(self, x):
        return x * 0 + self.sampling((self.mu, self.logvar))


def test_gradients_reach_mean_and_variance():
    draw = Draw()
    model = keras.Sequential([keras.Input((4,)), draw])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=lambda y, z: ops.sum(z, axis=-1))
    zeros = np.zeros((1, 4), "float32")
    expected = Sampling(seed=5)
    z = ops.convert_to_numpy(expected((zeros + 1, zeros + 1)))
    model.train_on_batch(zeros, zeros)
    # dz/dmu = 1 and dz/dlogvar = (z - mu) / 2
    np.testing.assert_allclose(ops.convert_to_numpy(draw.mu), zeros, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(draw.logvar), 1 - (z - 1) / 2, atol=1e-5)
