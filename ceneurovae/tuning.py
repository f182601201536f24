"""`tune`: a search for hyperparameters, in a folder, and a run with the best of them."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from ceneurovae.config import VAEConfig
from ceneurovae.hints import JSON, Data, PathLike
from ceneurovae.hypermodel import VAEHyperModel
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import PackedData, steps_per_epoch
from ceneurovae.recipe import batch_size_for, default_epochs
from ceneurovae.run_folder import RunFolder
from ceneurovae.search import Search, Trial, role_of_process, visible
from ceneurovae.search_folder import BEST, KERAS_TUNER, begin, check_folder, config_for
from ceneurovae.search_oracle import ORACLES, make_oracle
from ceneurovae.training import train


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """What `tune` gives.

    Args:
        best: Hyperparameters of the best trial, values by name; `None` for a worker.
        trials: Tuple of `Trial`.
        run_dir: Run folder of the model that was trained with them; `None` without a refit.
    """

    best: JSON | None
    trials: tuple[Trial, ...]
    run_dir: Path | None


def tune(
    train_ds: Data,
    valid_ds: Data,
    out: PathLike,
    config: VAEConfig | None = None,
    space: JSON | None = None,
    tuner: str = "bayesian",
    max_trials: int = 20,
    epochs: int | None = None,
    objective: str = "elbo",
    patience: int = 10,
    seed: int = 0,
    resume: bool = True,
    overwrite: bool = False,
    refit: bool = True,
    isolate: bool = True,
    callbacks: Sequence[Any] = (),
    report: Callable[[Any], None] | None = None,
    verbose: int = 0,
    **settings: Any,
) -> TuningResult:
    """Searches for the hyperparameters with the best validation score, and trains with them.

    A search that was interrupted goes on when it is called again with the same arguments; a trial
    that was running then is run again. A trial that fails is noted with its message, and the search
    goes on, unless 10 fail in a row. All trials run in a process of their own, whose memory does
    not grow. `trials.csv` and `trials.json` in `out` list them.

    Several processes share a search where the environment variables of Keras Tuner
    `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` are set, and `out` is
    one folder for all: the one with `chief` in its ID hands out trials, and trains with the best in
    the end; the others run them. The trial of a worker that was not heard of for 2 minutes goes to
    another.

    Args:
        train_ds, valid_ds: Training and validation data, as for `train`.
        out: Folder of the search.
        config: `VAEConfig` with what is not searched; length and channels are those of the data.
        space: What is searched, as for `VAEHyperModel`, where it also says what can be compared.
        tuner: `"random"`, `"bayesian"` (a third of the trials at random, then where a Gaussian
            process hopes for most) or `"hyperband"` (many short trials, longer ones of the best).
        max_trials: Trials at most. It may be raised to go on with a search that is over.
        epochs: Of a trial, as for `train`; with `"hyperband"`, of the longest.
        objective: `"elbo"`, with KL weight 1, or `"r2"`, both on validation data.
        patience: Epochs without a better ELBO, after the ramp, before a trial ends.
        seed: Decides the trials, their weights, and the order of the windows.
        resume: Whether to go on with a search in `out`.
        overwrite: Whether to replace a search in `out`.
        refit: Whether to train on training and validation data together in the end.
        isolate: Whether to run trials in a process of their own, as workers always do; `False` runs
            them in this one, where memory may grow.
        callbacks: Further Keras callbacks, copied for each trial.
        report: Function of the list of `Trial`s, called whenever something has changed.
        verbose: As for `train`, for the training in the end.
        **settings: Settings of `train` that are not searched.

    Returns:
        `TuningResult`; its `run_dir` is `out/best`, an ordinary run folder.

    Raises:
        ValueError: if an argument cannot be used, the search in `out` is another, or no trial
            was completed.
        FileExistsError: if `out` holds a search, and `resume` and `overwrite` are false.
        BlockingIOError: if another process searches in `out`.
    """
    if tuner not in ORACLES:
        raise ValueError(f"tuner is {tuner!r}, expected one of {', '.join(ORACLES)}.")
    for name, value in (("max_trials", max_trials), ("patience", patience)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1.")
    out = Path(out)
    config = config_for(config or VAEConfig(), train_ds)
    hypermodel = VAEHyperModel(config, space, objective, patience, seed, **settings)
    size = batch_size_for(train_ds, hypermodel.settings["batch_size"])
    epochs = epochs or default_epochs(steps_per_epoch(train_ds, size))
    splits = getattr(train_ds, "splits", None)
    recorded = {
        "engine": KERAS_TUNER,
        "model": config.to_dict(),
        "space": hypermodel.space,
        "settings": {name: repr(value) for name, value in hypermodel.settings.items()},
        "tuner": tuner,
        "epochs": epochs,
        "objective": objective,
        "patience": patience,
        "seed": seed,
        "backend": keras.backend.backend(),
        "data": splits and splits.manifest(),
    }
    role = role_of_process()
    with contextlib.ExitStack() as stack:
        if role != "worker":
            check_folder(out, recorded, resume, overwrite)
            stack.enter_context(RunFolder.held(out))
            begin(out, recorded, overwrite)
        stack.enter_context(warnings.catch_warnings())
        # Keras Tuner's names of threads.
        warnings.filterwarnings("ignore", r"(currentThread|getName)\(\)", DeprecationWarning)
        task = {
            "hypermodel": hypermodel,
            "data": tuple(PackedData.of(data) for data in (train_ds, valid_ds)),
            "epochs": epochs,
            "callbacks": list(callbacks),
        }
        search = Search(task, out, make_oracle(tuner, max_trials, epochs, objective, seed))
        search.listen(report, isolate)
        search.search(verbose=0)
        if role == "worker":
            return TuningResult(None, (), None)
        trials = search.results()
    best = search.best_hyperparameters(trials)
    run_dir = out / BEST
    model_config, training = hypermodel.chosen(best)
    keras.utils.set_random_seed(seed)
    train(
        NeuroBehaviorVAE(model_config),
        train_ds,
        valid_ds,
        epochs=epochs,
        patience=patience,
        refit=refit,
        seed=seed,
        run_dir=run_dir,
        overwrite=overwrite or not _is_same(run_dir, model_config),
        resume=not overwrite and _is_same(run_dir, model_config),
        verbose=verbose,
        **training,
    )
    return TuningResult(visible(best.values), trials, run_dir)


def _is_same(run_dir: Path, config: VAEConfig) -> bool:
    """Whether a run folder has a run of a config, which was perhaps interrupted."""
    try:
        return RunFolder(run_dir).config == config
    except (FileNotFoundError, ValueError):
        return False
