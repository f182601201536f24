"""Keras layers in a `tf.function`, without and with XLA."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.recipe import make_optimizer
from hand_written import LEARNING_RATE, projection


def make_loops(config, batches, steps):
    """See `hand_written.make_loops`.

    The layers are the package's, without its linear path and with dropout of Keras.
    """
    tensors = [tf.constant(batch) for batch in batches]
    loops = {}
    for name, jit_compile in (("tensorflow", False), ("tensorflow XLA", True)):
        loops[name], count = _make_loop(config, tensors, steps, jit_compile)
    return loops, count


def _make_loop(config, tensors, steps, jit_compile):
    with (
        mock.patch("ceneurovae.model.backbones.Dropout", keras.layers.Dropout),
        mock.patch("ceneurovae.model.mlp.Dropout", keras.layers.Dropout),
    ):
        model = NeuroBehaviorVAE(config)
    encoder, decoder = model.encoder.network, model.decoder.network
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = make_optimizer(LEARNING_RATE, steps)
    optimizer.build(variables)
    components = tf.constant(projection(config))
    on_scores = config.backbone == "mlp"
    shape = (-1, config.seq_len, config.channels)

    def encode(x):
        if on_scores:
            observed = ~tf.math.is_nan(x)
            parts = tf.where(observed, x, 0.0), 1.0 - tf.cast(observed, x.dtype)
            size = config.seq_len * config.channels
            x = tf.concat([tf.reshape(p, (-1, size)) @ components for p in parts], -1)
        mu, logvar = tf.split(encoder(x, training=True), 2, -1)
        return mu, tf.clip_by_value(logvar, -10.0, 10.0)

    def decode(z):
        window = decoder(z, training=True)
        return tf.reshape(window @ tf.transpose(components) if on_scores else window, shape)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            observed = ~tf.math.is_nan(x)
            mu, logvar = encode(x)
            z = mu + tf.exp(0.5 * logvar) * tf.random.normal(tf.shape(mu))
            error = decode(z) - tf.where(observed, x, 0.0)
            error = tf.where(observed, error, 0.0)
            kl = -0.5 * tf.reduce_sum(1 + logvar - mu**2 - tf.exp(logvar), -1)
            loss = tf.reduce_mean(tf.reduce_sum(error**2, [1, 2]) + kl)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def epoch():
        for x in tensors:
            step(x)
        variables[-1].numpy()

    return epoch, sum(int(np.prod(v.shape)) for v in variables)
