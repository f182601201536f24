"""One generation of a member of a population, and the run folder of the best in the end."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ceneurovae.callbacks import DivergenceError, KeepBest
from ceneurovae.fitting import fit, prepare
from ceneurovae.hypermodel import batched, r2_of
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import steps_per_epoch
from ceneurovae.population import Hyperparameters, Member, Population
from ceneurovae.run_folder import RunFolder, is_run
from ceneurovae.training import train


def train_generation(
    population: Population,
    member: Member,
    hyperparameters: Hyperparameters,
    train_ds: Any,
    valid_ds: Any,
) -> float:
    """Trains a member for one generation, from where it is.

    Args:
        population: `Population`.
        member: Its state and schedule move on; they stay as they are if an error is raised.
        hyperparameters: Those of this generation.
        train_ds, valid_ds: Data as for `train`.

    Returns:
        The score of its weights: ELBO with KL weight 1, or R2, on validation data.

    Raises:
        FloatingPointError: if the loss is no longer finite, or explodes.
    """
    config, settings = population.chosen(hyperparameters)
    recipe = population.recipe(settings, train_ds)
    size, seed = recipe.batch_size, recipe.seed
    data, valid = batched(train_ds, size, seed), batched(valid_ds, size)
    steps = steps_per_epoch(data, size)
    state = dataclasses.replace(member.state, rows=list(member.state.rows))
    keras.utils.set_random_seed(_seed_of(seed, member.number))
    model = NeuroBehaviorVAE(config)
    keras.utils.set_random_seed(seed)
    if not state.variables:
        model.adapt(train_ds, valid_ds)
        state.subspace = dict(model.subspace)
        state.take(model)
    prepare(model, recipe, steps, state)
    end = state.epoch + population.epochs_per_generation
    fit(
        model,
        data,
        recipe,
        state,
        end,
        [KeepBest(state, population.ramp)],
        validation_data=valid,
        validation_freq=population.validated(),
        verbose=0,
    )
    state.take(model)
    score = float(state.rows[-1]["val_elbo"])
    if not state.is_finite or not math.isfinite(score):
        raise DivergenceError(end - 1, steps - 1, math.nan)
    if population.objective == "r2":
        score = r2_of(model, valid)
    state.epoch = end
    member.state = state
    member.schedule = [
        *member.schedule,
        {
            "generation": end // population.epochs_per_generation,
            "member": member.number,
            "epochs": end,
            "hyperparameters": dict(hyperparameters),
            "score": score,
        },
    ]
    return score


def finish(
    population: Population,
    member: Member,
    train_ds: Any,
    valid_ds: Any,
    run_dir: str | Path,
    verbose: Any = 0,
) -> Path:
    """Makes the run folder of a member that went through all generations.

    `train` finds a training there whose epochs are over, and makes the choices that are left.

    Args:
        population: `Population`.
        member: The best one.
        train_ds, valid_ds: Data as for `train`.
        run_dir: Folder. A run in it that is not finished is replaced.
        verbose: As for `train`.

    Returns:
        The folder.
    """
    config, settings = population.chosen(member.schedule[-1]["hyperparameters"])
    recipe = population.recipe(settings, train_ds)
    if not is_run(run_dir) or not RunFolder(run_dir).is_finished:
        splits = getattr(train_ds, "splits", None)
        manifest = splits and splits.manifest()
        run = RunFolder.create(run_dir, config, recipe.to_dict(), manifest, True)
        run.write_schedule(member.schedule)
        run.write_history(member.state.rows)
        run.write_checkpoint(member.state)
    keras.utils.set_random_seed(recipe.seed)
    train(
        NeuroBehaviorVAE(config),
        train_ds,
        valid_ds,
        **vars(recipe),
        run_dir=run_dir,
        resume=True,
        verbose=verbose,
    )
    return Path(run_dir)


def _seed_of(seed: int, number: int) -> int:
    """The seed of the weights of a member; the first has those of an ordinary training."""
    if number == 1:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
