"""The default networks written by hand in each framework, with the loop that trains them.

Same layers, masks, loss and optimizer as the package; no scaler to speak of, no metrics, no
callbacks, and batches that are ready before the clock starts.
"""

import numpy as np

from ceneurovae.model.encoder import SQUEEZED_DIM
from ceneurovae.model.positional_encoding import sinusoidal_table

LEARNING_RATE = 1e-3
KERNEL_SIZE = 3


def make_loop(framework, config, x, batch_size):
    """A function that trains for one epoch, and the number of weights."""
    make = {"jax": _jax_loop, "tensorflow": _tensorflow_loop, "torch": _torch_loop}[framework]
    x = x.astype("float32")
    batches = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
    return make(config, batches)


def _torch_loop(config, batches):
    import torch
    from torch import nn
    from torch.nn import functional

    width, channels, latents = config.hidden_dim, config.channels, config.latent_dim

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            if config.backbone == "conv":
                self.layers = nn.ModuleList(
                    nn.Conv1d(width, width, KERNEL_SIZE, dilation=2**i, padding="same")
                    for i in range(config.num_layers)
                )
            else:
                self.layers = nn.ModuleList(
                    nn.GRU(width, width, batch_first=True) for _ in range(config.num_layers)
                )

        def forward(self, hidden):
            if config.backbone == "conv":
                hidden = hidden.transpose(1, 2)
                for layer in self.layers:
                    update = functional.silu(layer(hidden))
                    hidden = hidden + functional.dropout(update, config.dropout)
                return hidden.transpose(1, 2)
            for layer in self.layers:
                hidden = functional.dropout(layer(hidden)[0], config.dropout)
            return hidden

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.encode = nn.Linear(2 * channels, width), Body()
            self.squeeze = nn.Linear(width, SQUEEZED_DIM)
            self.posterior = nn.Linear(config.seq_len * SQUEEZED_DIM, 2 * latents)
            self.expand, self.decode = nn.Linear(latents, width), Body()
            self.time_courses = nn.Linear(width, width)
            self.readout = nn.Linear(width, channels)
            table = torch.tensor(sinusoidal_table(config.seq_len, width))
            self.register_buffer("table", table)

        def forward(self, x):
            observed = ~torch.isnan(x)
            x = torch.where(observed, x, 0.0)
            hidden = self.encode(self.project(torch.cat([x, observed.float()], -1)))
            mu, logvar = self.posterior(self.squeeze(hidden).flatten(1)).chunk(2, -1)
            logvar = logvar.clip(-10, 10)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            hidden = self.expand(z)[:, None] * self.time_courses(self.table)
            error = torch.where(observed, self.readout(self.decode(hidden)) - x, 0.0)
            kl = -0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(-1)
            return (error.square().sum((1, 2)) + kl).mean()

    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    tensors = [torch.tensor(batch) for batch in batches]

    def epoch():
        for x in tensors:
            optimizer.zero_grad()
            network(x).backward()
            optimizer.step()

    return epoch, sum(p.numel() for p in network.parameters())


def _jax_loop(config, batches):
    import jax
    import jax.numpy as jnp

    width, channels, latents = config.hidden_dim, config.channels, config.latent_dim
    rng = np.random.default_rng(0)

    def matrix(*shape):
        values = rng.normal(size=shape) * np.sqrt(1 / np.prod(shape[:-1]))
        return jnp.asarray(values, "float32")

    def dense(inputs, outputs):
        return matrix(inputs, outputs), jnp.zeros(outputs)

    def body():
        if config.backbone == "conv":
            return [
                (matrix(KERNEL_SIZE, width, width), jnp.zeros(width))
                for _ in range(config.num_layers)
            ]
        return [
            (matrix(width, 3 * width), matrix(width, 3 * width), jnp.zeros((2, 3 * width)))
            for _ in range(config.num_layers)
        ]

    weights = {
        "project": dense(2 * channels, width),
        "encode": body(),
        "squeeze": dense(width, SQUEEZED_DIM),
        "posterior": dense(config.seq_len * SQUEEZED_DIM, 2 * latents),
        "expand": dense(latents, width),
        "decode": body(),
        "time_courses": dense(width, width),
        "readout": dense(width, channels),
    }
    table = jnp.asarray(sinusoidal_table(config.seq_len, width))

    def apply(layer, x):
        return x @ layer[0] + layer[1]

    def dropout(key, x):
        keep = 1 - config.dropout
        return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)

    def convolve(index, layer, x):
        update = jax.lax.conv_general_dilated(
            x,
            layer[0],
            (1,),
            "SAME",
            rhs_dilation=(2**index,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return jax.nn.silu(update + layer[1])

    def gru(layer, x):
        kernel, recurrent, bias = layer
        inputs = jnp.swapaxes(x @ kernel + bias[0], 0, 1)

        def step(h, given):
            inner = h @ recurrent + bias[1]
            z, r = jnp.split(
                jax.nn.sigmoid(given[:, : 2 * width] + inner[:, : 2 * width]), 2, axis=-1
            )
            candidate = jnp.tanh(given[:, 2 * width :] + r * inner[:, 2 * width :])
            h = z * h + (1 - z) * candidate
            return h, h

        return jnp.swapaxes(jax.lax.scan(step, jnp.zeros((len(x), width)), inputs)[1], 0, 1)

    def run(key, layers, x):
        for index, layer in enumerate(layers):
            key, own = jax.random.split(key)
            if config.backbone == "conv":
                x = x + dropout(own, convolve(index, layer, x))
            else:
                x = dropout(own, gru(layer, x))
        return x

    def loss(weights, x, key):
        keys = jax.random.split(key, 3)
        observed = ~jnp.isnan(x)
        x = jnp.where(observed, x, 0)
        hidden = apply(weights["project"], jnp.concatenate([x, observed.astype(x.dtype)], -1))
        hidden = apply(weights["squeeze"], run(keys[0], weights["encode"], hidden))
        posterior = apply(weights["posterior"], hidden.reshape(len(x), -1))
        mu, logvar = jnp.split(posterior, 2, axis=-1)
        logvar = jnp.clip(logvar, -10, 10)
        z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(keys[1], mu.shape)
        hidden = apply(weights["expand"], z)[:, None] * apply(weights["time_courses"], table)
        error = apply(weights["readout"], run(keys[2], weights["decode"], hidden)) - x
        kl = -0.5 * (1 + logvar - mu**2 - jnp.exp(logvar)).sum(-1)
        return (jnp.square(jnp.where(observed, error, 0)).sum((1, 2)) + kl).mean()

    @jax.jit
    def step(weights, first, second, count, key, x):
        key, own = jax.random.split(key)
        gradients = jax.grad(loss)(weights, x, own)
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second
        )
        return weights, first, second, count, key

    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [weights, zeros, zeros, jnp.zeros(()), jax.random.key(0)]
    arrays = [jnp.asarray(batch) for batch in batches]

    def epoch():
        for x in arrays:
            state[:] = step(*state, x)
        jax.block_until_ready(state[0])

    return epoch, sum(w.size for w in jax.tree.leaves(weights))


def _tensorflow_loop(config, batches):
    import keras
    import tensorflow as tf

    from ceneurovae import NeuroBehaviorVAE

    model = NeuroBehaviorVAE(config)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            observed = ~tf.math.is_nan(x)
            mu, logvar = model.encoder(x, training=True)
            z = mu + tf.exp(0.5 * logvar) * tf.random.normal(tf.shape(mu))
            error = model.decoder(z, training=True) - tf.where(observed, x, 0.0)
            error = tf.where(observed, error, 0.0)
            kl = -0.5 * tf.reduce_sum(1 + logvar - mu**2 - tf.exp(logvar), -1)
            loss = tf.reduce_mean(tf.reduce_sum(error**2, [1, 2]) + kl)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    tensors = [tf.constant(batch) for batch in batches]

    def epoch():
        for x in tensors:
            loss = step(x)
        return float(loss)

    return epoch, sum(int(np.prod(v.shape)) for v in variables)
