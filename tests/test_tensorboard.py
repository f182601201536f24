"""Curves for TensorBoard: what a fit measured, and the KL divergence of each latent."""

import keras
import pytest
from conftest import tiny_config

from ceneurovae import NeuroBehaviorVAE, train
from ceneurovae.tensorboard import TensorBoard


def test_what_is_written_can_be_read(windows, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config())
    callbacks = [TensorBoard(tmp_path)]
    history = train(model, windows, windows, epochs=2, callbacks=callbacks, verbose=0).history
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert tags == {*history, "kl_per_latent"}
    for name, values in history.items():
        found = [float(_value(event)) for event in events.Tensors(name)]
        assert found == pytest.approx(values, rel=1e-5)


def _value(event):
    from tensorboard.util.tensor_util import make_ndarray

    return make_ndarray(event.tensor_proto)
