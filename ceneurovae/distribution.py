"""Training shared between devices, of one machine or more, by the engine of the backend."""

from contextlib import nullcontext

import keras

from ceneurovae.machines import Machines
from ceneurovae.model import NeuroBehaviorVAE


class Devices:
    """The devices of a training.

    JAX shares it by `keras.distribution.DataParallel`, TensorFlow by
    `tf.distribute.MirroredStrategy`: every device has all weights, and its part of each batch.
    Under TensorFlow, devices draw the same random numbers for their parts, and a noise level is the
    mean of those of the parts. On JAX, the devices may be those of several `machines`.

    Args:
        distribute: `"auto"` for all accelerators, or all CPU devices where there are none; `None`
            for one.

    Raises:
        ValueError: if `distribute` is neither, the backend is PyTorch, or the environment names
            further machines that were not joined.
    """

    def __init__(self, distribute=None):
        if distribute not in (None, "auto"):
            raise ValueError(f"distribute is {distribute!r}, expected None or 'auto'.")
        backend = keras.backend.backend()
        self.machines = Machines(distribute)
        self.count, self.engine = 1, None
        if distribute is None:
            return
        if backend == "jax":
            self.count = len(keras.distribution.list_devices())
            if self.count > 1:
                self.engine = keras.distribution.DataParallel(auto_shard_dataset=False)
        elif backend == "tensorflow":
            import tensorflow as tf

            kinds = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
            devices = [device.name for device in next(filter(None, kinds))]
            self.count = len(devices)
            if self.count > 1:
                self.engine = tf.distribute.MirroredStrategy(devices)
        else:
            raise ValueError(
                f"distribute='auto' is not for {backend}. Set KERAS_BACKEND to jax or tensorflow, "
                "which share a training between devices."
            )

    @property
    def several(self):
        """Whether there is more than one."""
        return self.engine is not None

    def scope(self):
        """A context in which models and optimizers are made, and fitted, on all devices."""
        return self.engine.scope() if self.several else nullcontext()

    def place(self, model):
        """A model that is on all devices: a copy, made in `scope`, or the model itself."""
        if not self.several:
            return model
        copy = NeuroBehaviorVAE.from_config(model.get_config())
        if not copy.built:
            copy.build((None, model.decoder.seq_len, model.decoder.channels))
        copy_variables(model, copy)
        return copy

    def share(self, data, batch_size):
        """A dataset whose batches divide between the devices: a few windows are left out if not.

        Of an epoch, fewer windows than there are devices; which ones, changes with the order. Of
        each batch, a machine gets its part.
        """
        if not self.several or data is None:
            return data
        from ceneurovae.pipeline import divisible, in_batches, is_dataset

        data = data if is_dataset(data) else in_batches(data, batch_size)
        return divisible(data, self.count, self.machines.place)


def copy_variables(source, target):
    """Gives a model the values of all variables of another one of the same config."""
    if source is target:
        return
    for before, after in zip(source.variables, target.variables, strict=True):
        after.assign(before.numpy())
