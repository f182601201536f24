"""Pure JAX: weights in a dictionary, one step under `jit`."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from ceneurovae.model.encoder import SQUEEZED_DIM
from ceneurovae.model.mlp import CLIP
from ceneurovae.model.positional_encoding import sinusoidal_table
from ceneurovae.recipe import LARGEST_GRADIENT, LEFT, RISING, WEIGHT_DECAY
from hand_written import LEARNING_RATE, projection

KERNEL_SIZE = 3


def make_loops(config, batches, steps):
    """See `hand_written.make_loops`."""
    make, encode, decode = _mlp(config) if config.backbone == "mlp" else _on_sequences(config)
    weights = make(np.random.default_rng(0))

    def loss(weights, x, key):
        keys = jax.random.split(key, 3)
        observed = ~jnp.isnan(x)
        x = jnp.where(observed, x, 0)
        mu, logvar = jnp.split(encode(weights, keys[0], x, observed), 2, axis=-1)
        logvar = jnp.clip(logvar, -10, 10)
        z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(keys[1], mu.shape)
        error = jnp.where(observed, decode(weights, keys[2], z) - x, 0)
        kl = -0.5 * (1 + logvar - mu**2 - jnp.exp(logvar)).sum(-1)
        return (jnp.square(error).sum((1, 2)) + kl).mean()

    def step(state, x):
        weights, first, second, count, key = state
        key, own = jax.random.split(key)
        gradients = _clipped(jax.grad(loss)(weights, x, own))
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        rate = _learning_rate(count - 1, steps)
        decay = 1 - WEIGHT_DECAY * rate
        rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(
            lambda w, m, v: decay * w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second
        )
        return weights, first, second, count, key

    step = jax.jit(step, donate_argnums=0)
    zeros = [jax.tree.map(jnp.zeros_like, weights) for _ in range(2)]
    state = (weights, *zeros, jnp.zeros(()), jax.random.key(0))
    count = sum(w.size for w in jax.tree.leaves(weights))
    arrays = [jnp.asarray(batch) for batch in batches]

    def epoch():
        nonlocal state
        for x in arrays:
            state = step(state, x)
        jax.block_until_ready(state)

    return {"jax": epoch}, count


def _learning_rate(step, steps):
    rising = min(RISING, steps // 10)
    risen = jnp.minimum(step / max(rising, 1), 1)
    fallen = jnp.clip((step - rising) / max(steps - rising, 1), 0, 1)
    return LEARNING_RATE * risen * (LEFT + (1 - LEFT) * 0.5 * (1 + jnp.cos(jnp.pi * fallen)))


def _clipped(gradients):
    norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(gradients)))
    scale = jnp.minimum(1, LARGEST_GRADIENT / (norm + 1e-12))
    return jax.tree.map(lambda g: scale * g, gradients)


def _matrix(rng, *shape):
    values = rng.normal(size=shape) * np.sqrt(1 / np.prod(shape[:-1]))
    return jnp.asarray(values, "float32")


def _dense(rng, inputs, outputs):
    return _matrix(rng, inputs, outputs), jnp.zeros(outputs)


def _apply(layer, x):
    return x @ layer[0] + layer[1]


def _dropout(config, key, x):
    keep = 1 - config.dropout
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)


def _mlp(config):
    """`(make, encode, decode)`: weights, and what is done with them."""
    components = jnp.asarray(projection(config))
    count, width, latents = components.shape[1], config.hidden_dim, config.latent_dim

    def stack(rng, inputs, outputs):
        sizes = [inputs, *config.num_layers * [width], outputs]
        return [_dense(rng, *pair) for pair in pairwise(sizes)]

    def make(rng):
        return {
            "encode": stack(rng, 2 * count, 2 * latents),
            "decode": stack(rng, latents, count),
        }

    def run(layers, key, x):
        x = x / jnp.sqrt(1 + jnp.square(x / CLIP))
        for layer in layers[:-1]:
            key, own = jax.random.split(key)
            x = _dropout(config, own, jax.nn.silu(_apply(layer, x)))
        return _apply(layers[-1], x)

    def encode(weights, key, x, observed):
        scores = x.reshape(len(x), -1) @ components
        gaps = (1.0 - observed).reshape(len(x), -1) @ components
        return run(weights["encode"], key, jnp.concatenate([scores, gaps], -1))

    def decode(weights, key, z):
        scores = run(weights["decode"], key, z)
        return (scores @ components.T).reshape(len(z), config.seq_len, config.channels)

    return make, encode, decode


def _on_sequences(config):
    """`(make, encode, decode)` around a body over time."""
    width, channels, latents = config.hidden_dim, config.channels, config.latent_dim
    make_layer, run_layers = {"conv": _conv, "gru": _gru, "transformer": _transformer}[
        config.backbone
    ](config)
    table = jnp.asarray(sinusoidal_table(config.seq_len, width))

    def body(rng):
        layers = [make_layer(rng) for _ in range(config.num_layers)]
        norm = (jnp.ones(width), jnp.zeros(width)) if config.backbone == "transformer" else ()
        return {"layers": layers, "norm": norm}

    def make(rng):
        return {
            "project": _dense(rng, 2 * channels, width),
            "encode": body(rng),
            "squeeze": _dense(rng, width, SQUEEZED_DIM),
            "posterior": _dense(rng, config.seq_len * SQUEEZED_DIM, 2 * latents),
            "expand": _dense(rng, latents, width),
            "time_courses": _dense(rng, width, width),
            "decode": body(rng),
            "readout": _dense(rng, width, channels),
        }

    def encode(weights, key, x, observed):
        x = jnp.concatenate([x, observed.astype(x.dtype)], -1)
        hidden = run_layers(weights["encode"], key, _apply(weights["project"], x))
        return _apply(weights["posterior"], _apply(weights["squeeze"], hidden).reshape(len(x), -1))

    def decode(weights, key, z):
        hidden = _apply(weights["expand"], z)[:, None] * _apply(weights["time_courses"], table)
        return _apply(weights["readout"], run_layers(weights["decode"], key, hidden))

    return make, encode, decode


def _conv(config):
    """`(make_layer, run_layers)` of residual convolutions."""

    def make_layer(rng):
        shape = (KERNEL_SIZE, config.hidden_dim, config.hidden_dim)
        return _matrix(rng, *shape), jnp.zeros(config.hidden_dim)

    def run_layers(body, key, x):
        for index, (kernel, bias) in enumerate(body["layers"]):
            key, own = jax.random.split(key)
            update = jax.lax.conv_general_dilated(
                x,
                kernel,
                (1,),
                "SAME",
                rhs_dilation=(2**index,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
            x = x + _dropout(config, own, jax.nn.silu(update + bias))
        return x

    return make_layer, run_layers


def _gru(config):
    """`(make_layer, run_layers)` of gated recurrent units."""
    width = config.hidden_dim

    def make_layer(rng):
        kernels = _matrix(rng, width, 3 * width), _matrix(rng, width, 3 * width)
        return *kernels, jnp.zeros((2, 3 * width))

    def recur(layer, x):
        kernel, recurrent, bias = layer
        inputs = jnp.swapaxes(x @ kernel + bias[0], 0, 1)

        def step(h, given):
            inner = h @ recurrent + bias[1]
            gates = jax.nn.sigmoid(given[:, : 2 * width] + inner[:, : 2 * width])
            z, r = jnp.split(gates, 2, axis=-1)
            candidate = jnp.tanh(given[:, 2 * width :] + r * inner[:, 2 * width :])
            h = z * h + (1 - z) * candidate
            return h, h

        return jnp.swapaxes(jax.lax.scan(step, jnp.zeros((len(x), width)), inputs)[1], 0, 1)

    def run_layers(body, key, x):
        for layer in body["layers"]:
            key, own = jax.random.split(key)
            x = _dropout(config, own, recur(layer, x))
        return x

    return make_layer, run_layers


def _transformer(config):
    """`(make_layer, run_layers)` of self-attention with the layer norm first."""
    width, heads = config.hidden_dim, config.num_heads
    table = jnp.asarray(sinusoidal_table(config.seq_len, width))

    def make_layer(rng):
        return {
            "attention_norm": (jnp.ones(width), jnp.zeros(width)),
            "inputs": _dense(rng, width, 3 * width),
            "outputs": _dense(rng, width, width),
            "feed_forward_norm": (jnp.ones(width), jnp.zeros(width)),
            "expand": _dense(rng, width, 4 * width),
            "contract": _dense(rng, 4 * width, width),
        }

    def normed(norm, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return norm[0] * (x - mean) * jax.lax.rsqrt(variance + 1e-6) + norm[1]

    def attend(layer, x):
        parts = jnp.split(_apply(layer["inputs"], x), 3, axis=-1)
        parts = [part.reshape(*x.shape[:2], heads, width // heads) for part in parts]
        return _apply(layer["outputs"], jax.nn.dot_product_attention(*parts).reshape(x.shape))

    def feed_forward(layer, x):
        hidden = jax.nn.gelu(_apply(layer["expand"], x), approximate=False)
        return _apply(layer["contract"], hidden)

    def run_layers(body, key, x):
        x = x + table
        for layer in body["layers"]:
            key, *own = jax.random.split(key, 3)
            x = x + _dropout(config, own[0], attend(layer, normed(layer["attention_norm"], x)))
            update = feed_forward(layer, normed(layer["feed_forward_norm"], x))
            x = x + _dropout(config, own[1], update)
        return normed(body["norm"], x)

    return make_layer, run_layers
