"""What beta, free bits, capacity and the schedule of the KL weight do, on the simulated worm.

    KERAS_BACKEND=jax python tests/benchmarks/kl_settings.py

Trains once with each setting, 16 latents for a worm that has 3, and prints of the held-out windows:
active latents (variance of the posterior mean above 0.01), KL and ELBO in nats per window (weight
1), and R2 of the reconstruction by the encoder alone. The network is kept whatever validation data
says of it, and nothing is refitted, so that what differs is the setting.
"""

import argparse
import tempfile
from pathlib import Path

import keras

from ceneurovae import KLAnnealing, NeuroBehaviorVAE, VAEConfig, evaluate
from ceneurovae.import_data import load_splits
from ceneurovae.pipeline import stream
from ceneurovae.simulation import simulate_worms

LATENTS, STEPS = 16, 20
SETTINGS = {
    "weight 1, linear ramp": {},
    "sigmoid ramp": {"schedule": "sigmoid"},
    "step": {"schedule": "step"},
    "cyclical": {"schedule": "cyclical"},
    "no ramp": {"schedule": None},
    "beta 0.1": {"beta": 0.1},
    "beta 4": {"beta": 4.0},
    "beta 16": {"beta": 16.0},
    "free bits 0.5": {"free_bits": 0.5},
    "free bits 2": {"free_bits": 2.0},
    "capacity 10": {"capacity": 10.0},
    "capacity 40": {"capacity": 40.0},
}


def scores(splits, epochs, schedule="linear", beta=1.0, **fields):
    """What `evaluate` says of a model that was trained with a setting."""
    keras.utils.set_random_seed(0)
    # Fixed noise: a learned level would take back what a weight other than 1 does.
    config = VAEConfig(
        seq_len=STEPS,
        latent_dim=LATENTS,
        reconstruction_loss="mse",
        encoder_steps=0,
        hidden_dim=128,
        **fields,
    )
    model = NeuroBehaviorVAE(config)
    train_ds, _, test_ds = stream(splits, 64, seed=0)
    model.adapt(train_ds)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3))
    if schedule is None:
        annealing = KLAnnealing(lambda epoch: beta)
    else:
        annealing = KLAnnealing(schedule, max(1, epochs // 4), stop=beta)
    model.fit(train_ds, epochs=epochs, shuffle=False, callbacks=[annealing], verbose=0)
    return evaluate(model, test_ds, refine=0, imputation=False).test


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as folder:
        path = simulate_worms(Path(folder) / "worms.h5")
        splits = load_splits(path, ["neural", "behavior"], STEPS, test_fraction=0.2)
        print(f"{'':24}{'active':>8}{'KL':>8}{'ELBO':>10}{'R2':>8}")
        for name, setting in SETTINGS.items():
            found = scores(splits, epochs, **setting)
            print(
                f"{name:24}{found.active_units:>8}{found.kl:>8.1f}{found.elbo:>10.1f}"
                f"{found.r2:>8.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
