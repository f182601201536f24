"""Curves for TensorBoard: scalars of each epoch, and the KL divergence of each latent."""

import keras


class TensorBoard(keras.callbacks.Callback):
    """Writes what a fit measures, and a histogram of the KL divergence per latent, to a folder.

    Look at it with `tensorboard --logdir FOLDER`.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        import tensorflow as tf

        self.summary = tf.summary
        self.writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        # Of the validation data where the epoch ended with it.
        per_latent = keras.ops.convert_to_numpy(self.model.elbo_parts.kl_per_latent)
        with self.writer.as_default(step=epoch):
            for name, value in logs.items():
                self.summary.scalar(name, value)
            self.summary.histogram("kl_per_latent", per_latent)

    def on_train_end(self, logs=None):
        self.writer.close()
