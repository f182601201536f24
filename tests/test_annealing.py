import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config

from ceneurovae import (
    KLAnnealing,
    NeuroBehaviorVAE,
    cyclical_kl_schedule,
    linear_kl_schedule,
    sigmoid_kl_schedule,
    step_kl_schedule,
)

RAMPS = (linear_kl_schedule, step_kl_schedule, sigmoid_kl_schedule)


@pytest.mark.parametrize("schedule", [*RAMPS, cyclical_kl_schedule])
def test_schedules_start_and_end_where_they_are_told(schedule):
    assert schedule(0, 7, start=0.2, stop=3.0) == pytest.approx(0.2)
    for step in (7, 8, 13):
        assert schedule(step, 7, start=0.2, stop=3.0) == pytest.approx(3.0)
    assert schedule(10_000, 7) == 1.0
    assert schedule(0, 0) == 1.0  # no warm-up at all


@pytest.mark.parametrize("schedule", RAMPS)
def test_ramps_never_go_down(schedule):
    values = [schedule(step, 20) for step in range(50)]
    assert values == sorted(values)


def test_cyclical_schedule_repeats():
    values = [cyclical_kl_schedule(step, 5, cycles=3) for step in range(40)]
    assert values[:10] == values[10:20] == values[20:30]
    assert values.count(0.0) == 3
    assert values[30:] == [1.0] * 10


def frozen_model():
    """A model that training leaves as it is, so that only the KL weight changes the loss."""
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(make_windows(50))
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    return model


def weight_in_loss(logs):
    """The KL weight that the loss was really computed with, epoch by epoch."""
    loss, reconstruction, kl = (np.array(logs[n]) for n in ("loss", "reconstruction", "kl"))
    return (loss - reconstruction) / kl


def test_a_schedule_by_epoch_changes_the_loss():
    x = make_windows(50)
    logs = (
        frozen_model()
        .fit(x, epochs=5, callbacks=[KLAnnealing("linear", warmup_epochs=4, stop=2.0)], verbose=0)
        .history
    )
    np.testing.assert_allclose(weight_in_loss(logs), [0, 0.5, 1, 1.5, 2], atol=1e-4)
    np.testing.assert_allclose(logs["kl_weight"], [0, 0.5, 1, 1.5, 2])


def test_a_schedule_by_step_changes_the_loss():
    x = np.repeat(make_windows(1), 40, axis=0)  # every batch has the same KL divergence
    callback = KLAnnealing("linear", warmup_steps=8)
    logs = frozen_model().fit(x, batch_size=10, epochs=3, callbacks=[callback], verbose=0).history
    means = [np.mean([0, 1, 2, 3]) / 8, np.mean([4, 5, 6, 7]) / 8, 1]
    np.testing.assert_allclose(weight_in_loss(logs), means, atol=1e-4)
    np.testing.assert_allclose(logs["kl_weight"], [3 / 8, 7 / 8, 1])


def test_a_function_is_a_schedule():
    x = make_windows(50)
    callback = KLAnnealing(lambda epoch: 3.0 if epoch == 1 else 0.5)
    logs = frozen_model().fit(x, epochs=3, callbacks=[callback], verbose=0).history
    np.testing.assert_allclose(weight_in_loss(logs), [0.5, 3.0, 0.5], atol=1e-4)


@pytest.mark.parametrize("unit", ["warmup_epochs", "warmup_steps"])
def test_resumed_training_goes_on_where_it_was(unit, tmp_path):
    x = np.repeat(make_windows(1), 40, axis=0)

    def fit(model, **epochs):
        callback = KLAnnealing("linear", **{unit: 8})
        return model.fit(x, batch_size=20, callbacks=[callback], verbose=0, **epochs).history

    whole = fit(frozen_model(), epochs=4)["kl_weight"]
    model = frozen_model()
    first = fit(model, epochs=2)["kl_weight"]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    second = fit(again, epochs=4, initial_epoch=2)["kl_weight"]
    assert first + second == whole
    assert len(set(whole)) == 4


def test_a_callback_can_be_used_twice():
    x, callback = make_windows(50), KLAnnealing("step", warmup_epochs=1, stop=2.0)
    model = frozen_model()
    for _ in range(2):
        logs = model.fit(x, epochs=2, callbacks=[callback], verbose=0).history
        np.testing.assert_allclose(weight_in_loss(logs), [0, 2], atol=1e-4)
        model.kl_weight.assign(0.7)


def test_errors():
    with pytest.raises(ValueError, match="'cosine', expected one of linear, step, cyclical"):
        KLAnnealing("cosine")
    with pytest.raises(ValueError, match="by is 'batch', expected 'epoch' or 'step'"):
        KLAnnealing(by="batch")
    with pytest.raises(ValueError, match="warmup is -1, expected a number of at least 0"):
        KLAnnealing(warmup_epochs=-1)
    with pytest.raises(ValueError, match="The KL schedule gave -1.0"):
        frozen_model().fit(make_windows(5), callbacks=[KLAnnealing(lambda e: -1)], verbose=0)
