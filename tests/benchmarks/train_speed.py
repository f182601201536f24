"""Training speed: `fit` of this package beside hand-written loops of the same network.

    KERAS_BACKEND=jax python tests/benchmarks/train_speed.py

Prints sequences per second of `fit` on the current backend, of a hand-written loop on that backend
(pure JAX under `jit`, a `tf.function` around Keras layers, plain PyTorch), and of plain PyTorch,
which is what most people would write. They take turns, so that a machine that slows down slows all
of them, and the ratios are medians over turns. The loops get their batches for nothing; `fit` has
to stream them.
"""

import argparse
import statistics
import time

import keras
import numpy as np
from hand_written import make_loop

from ceneurovae import NeuroBehaviorVAE, VAEConfig, split_datasets
from ceneurovae.pipeline import make_dataset
from ceneurovae.training import jit_choice

SEQ_LEN, CHANNELS, LATENTS = 100, 3, 32
EPOCHS = 4  # in one call of fit, as training has many


def make_fit(config, windows, batch_size):
    """A function that trains for `EPOCHS` epochs through Keras, and the number of weights."""
    model = NeuroBehaviorVAE(config)
    dataset = make_dataset(windows, batch_size, shuffle=True)
    model.adapt(dataset)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit_choice(config))
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return lambda: model.fit(dataset, epochs=EPOCHS, verbose=0, shuffle=False), count


def measure(functions, windows, turns):
    """Sequences per second of each function, `(turns,)`, taking turns after a warm-up."""
    for function in functions.values():
        function()
    rates = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            rates[name].append(EPOCHS * len(windows) / (time.perf_counter() - start))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=["conv", "gru"])
    parser.add_argument("--hidden-dims", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    backend = keras.backend.backend()
    rng = np.random.default_rng(0)
    print(f"{'network':<12} {'fit':>8} {'own loop':>9} {'PyTorch':>8}   fit/own  fit/PyTorch")
    for backbone in arguments.backbones:
        for hidden_dim in arguments.hidden_dims:
            batches = (64 if hidden_dim < 128 else 8) // (4 if backbone == "gru" else 1)
            x = rng.normal(size=(batches * arguments.batch_size, SEQ_LEN, CHANNELS))
            x[rng.random(x.shape) < 0.05] = np.nan
            windows = split_datasets(x, SEQ_LEN, valid_fraction=0).train
            config = VAEConfig(
                seq_len=SEQ_LEN,
                channels=CHANNELS,
                latent_dim=LATENTS,
                hidden_dim=hidden_dim,
                backbone=backbone,
            )
            fit, count = make_fit(config, windows, arguments.batch_size)
            functions = {"fit": fit}
            for framework in dict.fromkeys([backend, "torch"]):
                loop, own_count = make_loop(framework, config, x, arguments.batch_size)
                # PyTorch's GRU has two biases where the others have one or two.
                if backbone == "conv" and count != own_count:
                    raise RuntimeError(f"{framework} has {own_count} weights, not {count}.")
                functions[framework] = lambda loop=loop: [loop() for _ in range(EPOCHS)]
            rates = measure(functions, windows, arguments.turns)
            median = {name: statistics.median(values) for name, values in rates.items()}
            ratio = {
                name: statistics.median(
                    a / b for a, b in zip(rates["fit"], rates[name], strict=True)
                )
                for name in (backend, "torch")
            }
            print(
                f"{backbone + ' H=' + str(hidden_dim):<12} {median['fit']:>8.0f} "
                f"{median[backend]:>9.0f} {median['torch']:>8.0f}   {ratio[backend]:>7.2f}"
                f"  {ratio['torch']:>11.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
