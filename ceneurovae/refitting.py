"""A run trained once more with its own settings: with another seed, or on other data."""

import keras
import numpy as np

from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import stream
from ceneurovae.scores import Score
from ceneurovae.training import train


def refit(run, splits, seed, run_dir=None):
    """Trains a model with the config and the arguments of a run, as many epochs.

    Args:
        run: `RunFolder`.
        splits: `Splits` to train on.
        seed: Decides the weights, the order of the windows, dropout and the draws.
        run_dir: Run folder to write, and to go on with if it is there; nothing is written without.

    Returns:
        The trained model.
    """
    settings = {**run.training, "seed": seed}
    if settings["kl_schedule"] == "None":
        settings["kl_schedule"] = None
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(run.config)
    train_ds, valid_ds, _ = stream(splits, settings["batch_size"], seed=seed)
    train(
        model,
        train_ds,
        valid_ds if len(splits.valid) else None,
        **settings,
        run_dir=run_dir,
        resume=run_dir is not None,
        verbose=0,
    )
    return model


def held_out(splits):
    """Name and `Windows` of what a run is scored on: `test`, or `valid` without test data."""
    name = "test" if len(splits.test) else "valid"
    windows = getattr(splits, name)
    if not len(windows):
        raise ValueError(
            "The run set neither test nor validation data aside, so there is nothing to score it "
            "on. Train with --test-fraction."
        )
    return name, windows


def reconstruction_score(model, windows, batch_size=256):
    """`r2` and `skill` of the encoder and the decoder on `Windows`, as in `evaluate`."""
    score = Score()
    for rows in np.array_split(np.arange(len(windows)), -(-len(windows) // batch_size)):
        x = windows.gather(rows)
        decoded = model.decode(model.encode(x).mu, len(x))
        score.add(model.scaler.as_numpy(x), model.scaler.as_numpy(decoded))
    found = score.result()
    return {name: getattr(found, name) for name in ("r2", "skill")}
