"""`ceneurovae tune`: the options of `ceneurovae train`, and those of a search."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ceneurovae.config import VAEConfig
    from ceneurovae.hints import JSON
    from ceneurovae.splits import Splits
    from ceneurovae.tuning import TuningResult

# Options of `train` that a search does otherwise, or has no use for.
NOT_SHARED = (
    *("context", "files", "out", "resume", "patience", "retries", "tensorboard", "distribute"),
)


def add_tune(app: typer.Typer, train: Callable[..., Any]) -> None:
    """Adds the command to the command line.

    Args:
        app: The `typer.Typer`.
        train: The command `train`, whose options it takes over.
    """
    own = inspect.signature(tune).parameters
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(train).parameters.items()
        if name not in NOT_SHARED
    ]

    def command(**given: Any) -> None:
        tune(given.pop("context"), given.pop("files"), given.pop("out"), **given)

    options = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()]
    options = [option for option in options if option.name != "shared"] + shared
    adapted: Any = command  # Typer takes its options from these
    adapted.__signature__ = inspect.Signature(options)
    adapted.__annotations__ = {option.name: option.annotation for option in options}
    app.command(name="tune", help=tune.__doc__)(command)


def tune(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="Files, folders, or patterns such as 'data/*.h5'.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the search.", show_default=False)],
    max_trials: Annotated[int, typer.Option(help="Trials at most.")] = 20,
    tuner: Annotated[str, typer.Option(help="random, bayesian or hyperband.")] = "bayesian",
    objective: Annotated[str, typer.Option(help="elbo or r2, on validation data.")] = "elbo",
    space: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with what is searched: names of options, each with a list of choices "
            "or three values: low, high, and 'linear' or 'log'.",
            show_default="the usual, but for options that are given",
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option(help="Epochs without progress before a trial ends.")
    ] = 10,
    **shared: Any,
) -> None:
    """Search for the best settings, and train with them; the same command goes on with a search."""
    from ceneurovae import console
    from ceneurovae.trial_process import ENVIRONMENT

    searched = None if space is None else _read_space(space)
    given = {
        parameter.name
        for parameter in context.command.params
        if parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name != "DEFAULT"
    }
    splits, config = _read({**shared, "files": files})
    quiet = shared["quiet"]
    console.choose_backend(shared["backend"], ENVIRONMENT)
    try:
        with console.progress_bar(quiet) as progress:
            console.import_keras(progress)
            from ceneurovae import hypermodel, tuning
            from ceneurovae.pipeline import stream
            from ceneurovae.search_table import showing_trials

        if searched is None:
            searched = {n: values for n, values in hypermodel.SPACE.items() if n not in given}
        settings = {name: shared[name] for name in hypermodel.SETTINGS if name not in searched}
        size = shared["batch_size"] or tuning.BATCH_SIZE
        train_ds, valid_ds, _ = stream(splits, size, seed=shared["seed"])
        with showing_trials(objective, quiet) as report:
            result = tuning.tune(
                train_ds,
                valid_ds,
                out,
                config,
                searched,
                tuner,
                max_trials,
                shared["epochs"],
                objective,
                patience,
                shared["seed"],
                overwrite=shared["overwrite"],
                refit=shared["refit"],
                report=report,
                **settings,
            )
    except KeyboardInterrupt as interrupt:
        console.say("Interrupted. To go on, give the same command again.")
        raise typer.Exit(128 + getattr(interrupt, "number", 2)) from None
    _show(result, splits)


def _read_space(path: Path) -> "JSON":
    try:
        space = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    if not isinstance(space, dict):
        raise ValueError(f"'{path}' holds a {type(space).__name__}, expected names and values.")
    return space


def _read(given: "JSON") -> "tuple[Splits, VAEConfig]":
    from ceneurovae.cli_data import read_data

    splits, config = read_data(given)
    if not len(splits.valid):
        raise ValueError("A search needs validation data: give a --valid-fraction above 0.")
    return splits, config


def _show(result: "TuningResult", splits: "Splits") -> None:
    """Evaluates the run with the best settings, and prints the results."""
    from ceneurovae import console
    from ceneurovae.evaluation import evaluate_run
    from ceneurovae.evaluation_table import show_evaluation

    if result.run_dir is None or result.best is None:
        console.say("The search is over. Its chief trains with the best.")
        return
    evaluation = evaluate_run(result.run_dir, splits, imputation=False)
    best = ", ".join(f"{name} {value}" for name, value in result.best.items())
    show_evaluation(evaluation)
    console.say(f"Best of {len(result.trials)} trials: {best}")
    console.say(f"Run folder: {result.run_dir}")
