"""A run trained once more with its own settings: with another seed, or on other data."""

import dataclasses

import keras
import numpy as np

from ceneurovae.hints import PathLike
from ceneurovae.import_data import reload_splits
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import stream
from ceneurovae.recipe import Recipe
from ceneurovae.run_folder import RunFolder
from ceneurovae.scores import Score
from ceneurovae.splits import Splits
from ceneurovae.training import train
from ceneurovae.windows import Windows


def run_to_refit(
    path: PathLike, refits: int, splits: Splits | None = None
) -> tuple[RunFolder, Splits]:
    """A finished run that is to be trained again so many times, and its `Splits`.

    Args:
        path: Run folder.
        refits: How many times, at least 1.
        splits: The run's `Splits`; by default its files are read again.

    Raises:
        ValueError: if `refits` cannot be used, or the run is not finished.
    """
    if not isinstance(refits, int) or refits < 1:
        raise ValueError(f"refits is {refits!r}, expected a whole number of at least 1.")
    run = RunFolder(path)
    run.require_finished()
    return run, reload_splits(run.manifest) if splits is None else splits


def refit(
    run: RunFolder, splits: Splits, seed: int, run_dir: PathLike | None = None
) -> NeuroBehaviorVAE:
    """Trains a model with the config and the arguments of a run, as many epochs.

    Args:
        run: `RunFolder`.
        splits: `Splits` to train on.
        seed: Decides the weights, the order of the windows, dropout and the draws.
        run_dir: Run folder to write, and to go on with if it is there; nothing is written without.

    Returns:
        The trained model.
    """
    recipe = dataclasses.replace(Recipe.from_dict(run.training), seed=seed)
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(run.config)
    train_ds, valid_ds, _ = stream(splits, recipe.batch_size, seed=seed)
    train(
        model,
        train_ds,
        valid_ds if len(splits.valid) else None,
        **vars(recipe),
        run_dir=run_dir,
        resume=run_dir is not None,
        verbose=0,
    )
    return model


def held_out(splits: Splits) -> tuple[str, Windows]:
    """Name and `Windows` of what a run is scored on: `test`, or `valid` without test data."""
    name = "test" if len(splits.test) else "valid"
    windows = getattr(splits, name)
    if not len(windows):
        raise ValueError(
            "The run set neither test nor validation data aside, so there is nothing to score it "
            "on. Train with --test-fraction."
        )
    return name, windows


def reconstruction_score(
    model: NeuroBehaviorVAE, windows: Windows, batch_size: int = 256
) -> dict[str, float | None]:
    """`r2` and `skill` of the encoder and the decoder on `Windows`, as in `evaluate`."""
    score = Score()
    for rows in np.array_split(np.arange(len(windows)), -(-len(windows) // batch_size)):
        x = windows.gather(rows)
        decoded = model.decode(model.encode(x).mu, len(x))
        score.add(model.scaler.as_numpy(x), model.scaler.as_numpy(decoded))
    found = score.result()
    return {name: getattr(found, name) for name in ("r2", "skill")}
