"""From recordings to a run folder in one call, and on from where that was interrupted."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from ceneurovae.config import VAEConfig, fitted_to
from ceneurovae.evaluation import evaluate_run
from ceneurovae.hints import PathLike
from ceneurovae.import_data import reload_splits
from ceneurovae.machines import join_machines
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import stream
from ceneurovae.recipe import BATCH_SIZE, Recipe
from ceneurovae.results import Evaluation
from ceneurovae.run_folder import RunFolder
from ceneurovae.splits import Splits
from ceneurovae.training import train


def train_run(
    splits: Splits,
    config: VAEConfig,
    run_dir: PathLike,
    seed: int = 0,
    batch_size: int | None = None,
    **settings: Any,
) -> Evaluation | None:
    """Builds, trains and evaluates a model in one go, from seed to `metrics.json`.

    Args:
        splits: `Splits` of the data.
        config: `VAEConfig`; `seq_len` and `channels` are set to those of the data.
        run_dir: Run folder to write.
        seed: Decides the weights, the order of the windows, dropout and the draws.
        batch_size: Windows in a batch, 64 by default.
        **settings: Further arguments of `train`; `refit` is true by default where there is test
            data to score what comes out.

    Returns:
        As `evaluate_run`, without the scores of imputation, which take longer. Where several
        machines train, all but the first get `None`.
    """
    first = settings.get("distribute") is None or join_machines().first
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    config = fitted_to(config, splits.train)
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(config)
    train_ds, valid_ds, _ = stream(splits, batch_size, seed=seed)
    settings.setdefault("refit", len(splits.valid) > 0 and len(splits.test) > 0)
    train(
        model,
        train_ds,
        valid_ds if len(splits.valid) else None,
        batch_size=batch_size,
        seed=seed,
        run_dir=run_dir,
        **settings,
    )
    return evaluate_run(run_dir, splits, imputation=False) if first else None


def resume_run(
    run_dir: PathLike,
    retries: int = 0,
    callbacks: Sequence[Any] = (),
    verbose: Any = "auto",
    distribute: str | None = None,
) -> Evaluation | None:
    """Goes on with a run of `train_run` or the command line that was interrupted, and evaluates it.

    Args:
        run_dir: Run folder; its settings and data are those of the run.
        retries, callbacks, verbose, distribute: As for `train`.

    Returns:
        As `train_run`.

    Raises:
        FileNotFoundError, ValueError: if there is no run, or its files are not what they were.
        BlockingIOError: if another process trains there.
    """
    run = RunFolder(run_dir)
    recipe = dataclasses.replace(Recipe.from_dict(run.training), retries=retries)
    return train_run(
        reload_splits(run.manifest),
        run.config,
        run_dir,
        **vars(recipe),
        resume=True,
        callbacks=callbacks,
        verbose=verbose,
        distribute=distribute,
    )
