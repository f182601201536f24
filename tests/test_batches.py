"""Batches of one size, so that a backend that compiles a step does so once."""

import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config
from test_selection import curve

from ceneurovae import NeuroBehaviorVAE, train
from ceneurovae.checkpoint import FitState
from ceneurovae.fitting import prepare
from ceneurovae.pipeline import for_validation, in_batches, steps_per_epoch, whole_batches
from ceneurovae.recipe import Recipe


def rows(dataset):
    return [tuple(window) for batch in dataset for window in batch.numpy()[:, :, 0]]


def test_all_windows_are_trained_on_though_an_epoch_has_whole_batches_only():
    x = np.arange(23 * 4, dtype="float32").reshape(23, 4, 1)
    data = whole_batches(in_batches(x, 5, shuffle=True, seed=1))
    assert int(data.cardinality()) == steps_per_epoch(data, 5) == steps_per_epoch(x, 5) == 4
    assert data.element_spec.shape == (5, 4, 1)  # TensorFlow is faster if it knows
    epochs = [rows(data) for _ in range(10)]
    assert all(len(set(windows)) == 20 for windows in epochs)
    assert set().union(*epochs) == set(map(tuple, x[:, :, 0]))
    data.epoch.number = 0
    assert rows(data) == epochs[0]


def test_one_small_batch_and_an_order_that_is_fixed_are_left_alone():
    data = in_batches(np.zeros((3, 4, 1)), 5, shuffle=True)
    assert whole_batches(data) is data
    unshuffled = in_batches(np.zeros((7, 4, 1)), 5)
    assert whole_batches(unshuffled) is unshuffled


@pytest.mark.parametrize(
    ("windows", "sizes"), [(13, [13]), (24, [24]), (33, [11] * 3), (29, [3] * 9 + [2]), (2, [2])]
)
def test_validation_data_comes_in_batches_of_one_size_if_it_can(windows, sizes):
    data = in_batches(np.arange(4.0 * windows).reshape(windows, 4, 1), 3)
    found = for_validation(data, 3)
    assert [len(batch) for batch in found] == sizes
    assert int(found.cardinality()) == len(sizes)
    assert rows(found) == rows(data)


@pytest.mark.parametrize("count", [1, 5, 6, 7])
def test_predictions_do_not_depend_on_how_many_there_are_at_a_time(count):
    x = make_windows(7)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(make_windows(50))
    whole = model.encode(x)
    found = model.encode(x[:count], batch_size=3)
    for part, expected in zip(found, whole, strict=True):
        assert part.shape == (count, 2)
        np.testing.assert_allclose(part, expected[:count], rtol=1e-4, atol=1e-5)
    mask = ~np.isnan(x)
    pair = model.encode((np.nan_to_num(x), mask), batch_size=3)
    np.testing.assert_allclose(pair.mu, whole.mu, rtol=1e-4, atol=1e-5)


class CountedVAE(NeuroBehaviorVAE):
    """Counts how often Python goes through its training step."""

    traced = 0

    def compute_loss(self, *args, training=True, **arguments):
        CountedVAE.traced += training
        return super().compute_loss(*args, training=training, **arguments)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch compiles nothing")
def test_a_step_is_compiled_once_for_fit_and_refit(monkeypatch):
    monkeypatch.setattr(CountedVAE, "traced", 0)
    keras.utils.set_random_seed(0)
    model = CountedVAE(tiny_config(latent_dim=1, hidden_dim=32))
    settings = {"epochs": 15, "lr": 5e-3, "batch_size": 32, "refit": True, "seed": 0}
    history = train(model, curve(650, 0), curve(101, 1), verbose=0, **settings)
    assert history.choices["decoder_gain"] > 0  # without a network, there is nothing to fit again
    # Keras goes through the step of a model once more, to find out what is not built.
    assert CountedVAE.traced <= 2


def test_a_batch_takes_the_same_step_from_a_dataset_and_from_anything_else():
    """Under TensorFlow these are two functions, of which the second is Keras' own."""
    x = make_windows(20)
    recipe = Recipe(
        epochs=1, lr=0.01, batch_size=20, kl_schedule=None, warmup_epochs=0, kl_weight=1.0
    )
    losses = []
    for from_dataset in (True, False):
        keras.utils.set_random_seed(0)
        model = NeuroBehaviorVAE(tiny_config())
        model.adapt(x)
        prepare(model, recipe, 1, FitState())
        if from_dataset:
            history = model.fit(in_batches(x, 20), epochs=2, verbose=0).history
            losses.append(history["loss"])
        else:
            steps = (model.train_on_batch(x, return_dict=True) for _ in range(2))
            losses.append([float(logs["loss"]) for logs in steps])
    np.testing.assert_allclose(*losses, rtol=1e-5)
