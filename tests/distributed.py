"""Trains on one device and on two, in a process with two virtual CPU devices.

    KERAS_BACKEND=jax python tests/distributed.py

Prints JSON: for `None` and `"auto"` the number of devices, the steps and the history.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
)

import keras
import numpy as np
from conftest import make_windows, tiny_config

from ceneurovae import NeuroBehaviorVAE, train
from ceneurovae.distribution import Devices
from ceneurovae.model.sampling import Sampling

BATCH_SIZE, STEPS, EPOCHS = 16, 20, 2


class Count(keras.callbacks.Callback):
    """The steps of the optimizer."""

    steps = 0

    def on_train_end(self, logs=None):
        self.steps = int(self.model.optimizer.iterations.numpy())


def main():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
    # Under TensorFlow both devices draw the same, for half of a batch each.
    Sampling.call = lambda self, parts: parts[0]
    # With nothing missing: the noise level of a batch is the mean of those of its parts, which have
    # as many observed values then.
    windows = np.nan_to_num(make_windows(BATCH_SIZE * STEPS // EPOCHS))
    found = {}
    for distribute in (None, "auto"):
        keras.utils.set_random_seed(0)
        model, count = NeuroBehaviorVAE(tiny_config()), Count()
        with tempfile.TemporaryDirectory() as folder:
            history = train(
                model,
                windows,
                windows[:50],
                epochs=EPOCHS,
                batch_size=BATCH_SIZE,
                seed=1,
                run_dir=Path(folder) / "run",
                distribute=distribute,
                callbacks=[count],
                verbose=0,
            )
        found[str(distribute)] = {
            "devices": Devices(distribute).count,
            "steps": count.steps,
            "history": history.history,
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
