"""Selection: the floor is the linear path, and a network that is better is kept."""

import keras
import numpy as np
import pytest
from conftest import tiny_config
from keras import ops

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.selection import select
from ceneurovae.training import train


def curve(count, seed):
    """Windows on half a circle in `(T, C)`, which a line does not follow."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi / 2, np.pi / 2, size=(count, 1, 1))
    time = np.linspace(0, 1, 12)[:, None]
    x = np.cos(angle + time + np.array([0.0, 1.5, 3.0]))
    return (x + 0.02 * rng.normal(size=x.shape)).astype("float32")


def test_a_harmful_network_is_left_out():
    x = curve(200, 0)
    model = NeuroBehaviorVAE(tiny_config(latent_dim=1))
    model.adapt(x)
    linear = model.reconstruct(x, refine=10)
    rng = np.random.default_rng(0)
    for weight in model.decoder.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    choices = select(model, x)
    assert choices["decoder_gain"] == choices["encoder_gain"] == 0
    assert choices["deviance"] == choices["linear"]
    np.testing.assert_allclose(model.reconstruct(x, refine=10), linear, atol=0.05)


def test_without_its_gain_the_encoder_is_that_of_the_linear_path():
    x = curve(20, 0)
    model = NeuroBehaviorVAE(tiny_config(latent_dim=1))
    model.adapt(x)
    linear = model.encode(x)
    for weight in model.encoder.trainable_weights:
        weight.assign(np.ones(weight.shape))
    assert np.abs(model.encode(x).logvar - linear.logvar).min() > 0.1
    model.encoder.gain.assign(0.0)
    for part, expected in zip(model.encode(x), linear, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_a_better_network_is_kept_and_the_noise_level_is_that_of_new_data():
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(latent_dim=1, hidden_dim=32))
    valid = curve(100, 1)
    history = train(model, curve(640, 0), valid, epochs=15, lr=5e-3, batch_size=32, verbose=0)
    choices = history.choices
    assert choices["decoder_gain"] > 0
    assert choices["deviance"] < 0.95 * choices["linear"]
    error = np.square(
        ops.convert_to_numpy(model.scaler(valid) - model.scaler(model.reconstruct(valid)))
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.likelihood.variance), error.mean(), rtol=1e-3
    )


@pytest.mark.once
def test_training_gives_up_where_the_network_shows_no_gain():
    """Once the ramp, of 2 epochs, and 3 more are over; not where the network is better."""
    noise = np.random.default_rng(0).normal(size=(120, 12, 3)).astype("float32")
    fields = {"latent_dim": 1, "hidden_dim": 32}

    def epochs(data, **settings):
        keras.utils.set_random_seed(0)
        settings = {"epochs": 12, "warmup_epochs": 2, "lr": 5e-3, "batch_size": 32, **settings}
        model = NeuroBehaviorVAE(tiny_config(**fields))
        return len(train(model, data[:80], data[80:], seed=0, verbose=0, **settings).epoch)

    assert epochs(noise, give_up=True) == 5
    assert epochs(noise) == 12  # where a number of epochs is given, it is kept to
    assert epochs(curve(400, 0), give_up=True) == 12


def largest_variance(model):
    return float(ops.convert_to_numpy(model.decoder.linear.variances)[0])


class Fits(keras.callbacks.Callback):
    """Counts the fits that it is called in."""

    def __init__(self, with_refit=False):
        super().__init__()
        self.count = 0
        if with_refit:
            self.for_refit = lambda: self

    def on_train_begin(self, logs=None):
        self.count += 1


def test_refitting_sees_validation_data_and_keeps_the_choices():
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(latent_dim=1))
    train_x, valid = curve(128, 0), curve(128, 1) + 5.0
    fits = [Fits(), Fits(with_refit=True)]
    history = train(model, train_x, valid, epochs=4, lr=2e-2, refit=True, callbacks=fits, verbose=0)
    before = NeuroBehaviorVAE(tiny_config(latent_dim=1))
    before.adapt(train_x)
    # The choices were made in units of the training data; the linear path knows both.
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.scaler.mean), train_x.mean(axis=(0, 1)), rtol=1e-4
    )
    assert largest_variance(model) > 2 * largest_variance(before)
    gain = float(ops.convert_to_numpy(model.decoder.gain))
    assert gain == history.choices["decoder_gain"]
    assert [callback.count for callback in fits] == [1, 2 if gain else 1]
