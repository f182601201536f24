"""Two devices learn what one does: the same losses, and nothing counted twice."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, make_windows, tiny_config

from ceneurovae import NeuroBehaviorVAE, train
from ceneurovae.pipeline import divisible, in_batches

BACKEND = keras.backend.backend()


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch trains on one device")
def test_two_devices_learn_what_one_does():
    command = [sys.executable, ROOT / "tests" / "distributed.py"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    alone, shared = json.loads(done.stdout).values()
    assert alone["devices"] == 1 and shared["devices"] == 2
    for name, values in alone["history"].items():
        # Each device rounds its own part of a sum; losses are some 45 nats.
        np.testing.assert_allclose(shared["history"][name], values, rtol=1e-4, atol=1e-3)
    assert alone["steps"] == shared["steps"] == 20


@pytest.mark.parametrize(
    ("windows", "sizes"), [(34, [16, 16, 2]), (35, [16, 16, 2]), (33, [16, 16]), (32, [16, 16])]
)
def test_batches_divide_between_devices(windows, sizes):
    data = in_batches(make_windows(windows), 16, shuffle=True)
    shared = divisible(data, 2)
    assert [len(x) for x in shared] == sizes
    assert int(shared.cardinality()) == len(sizes)
    assert shared.epoch is data.epoch and shared.batch_size == 16
    with pytest.raises(ValueError, match="A batch of 16 windows cannot be shared between 17"):
        divisible(data, 17)


@pytest.mark.once
def test_machines_take_equal_parts_of_each_batch(windows):
    data = in_batches(windows, 16)
    whole = [x.numpy() for x in divisible(data, 4)]
    parts = [[x.numpy() for x in divisible(data, 4, (number, 2))] for number in range(2)]
    assert [len(x) for x in whole] == [16, 16, 16]  # the last 2 of 50 are left out
    for batch, halves in zip(whole, zip(*parts, strict=True), strict=True):
        assert [len(half) for half in halves] == [8, 8]
        np.testing.assert_array_equal(np.concatenate(halves), batch)


def test_errors(windows):
    model = NeuroBehaviorVAE(tiny_config())
    with pytest.raises(ValueError, match="distribute is 2, expected None or 'auto'"):
        train(model, windows, distribute=2)
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="Set KERAS_BACKEND to jax or tensorflow"):
            train(model, windows, distribute="auto")
