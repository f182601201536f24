"""`ceneurovae tune`: the options of `ceneurovae train`, and those of a search."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ceneurovae.cli.data import read_data
from ceneurovae.cli.options import Files, option

if TYPE_CHECKING:
    from ceneurovae.config import VAEConfig
    from ceneurovae.hints import JSON
    from ceneurovae.splits import Splits

# Options of `train` that a search does otherwise, or has no use for.
NOT_SHARED = (
    *("context", "files", "out", "resume", "patience", "retries"),
    *("give_up", "tensorboard", "distribute"),
)
# Options that only one engine knows.
OF_ENGINE = {
    "keras-tuner": ("max_trials", "tuner", "patience", "epochs", "refit"),
    "ray": (
        *("population", "generations", "epochs_per_generation"),
        *("address", "cpus_per_member", "gpus_per_member"),
    ),
}


def tune_command(train: Callable[..., Any]) -> Callable[..., None]:
    """The command, a function with the options of `tune` and those it takes over.

    Args:
        train: The command `train`.
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
    adapted.__name__, adapted.__doc__ = tune.__name__, tune.__doc__
    adapted.__signature__ = inspect.Signature(options)
    adapted.__annotations__ = {option.name: option.annotation for option in options}
    return command


def tune(
    context: typer.Context,
    files: Files,
    out: Annotated[Path, option("Folder of the search.", show_default=False)],
    engine: Annotated[
        str,
        typer.Option(
            help="keras-tuner: trials, each with its own hyperparameters. ray: population-based "
            "training, in which they change on the way."
        ),
    ] = "keras-tuner",
    max_trials: Annotated[int, option("Trials at most.")] = 20,
    tuner: Annotated[str, option("random, bayesian or hyperband.")] = "bayesian",
    objective: Annotated[str, option("elbo or r2, on validation data.")] = "elbo",
    space: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with what is searched: names of options, each with a list of choices "
            "or three values: low, high, and 'linear' or 'log'.",
            show_default="the usual, but for options that are given",
        ),
    ] = None,
    patience: Annotated[int, option("Epochs without progress before a trial ends.")] = 10,
    population: Annotated[int, option("With ray: members.")] = 4,
    generations: Annotated[
        int,
        option("With ray: times that the worst members become copies of the best."),
    ] = 5,
    epochs_per_generation: Annotated[
        int | None,
        typer.Option(
            help="With ray: times through the training data in a generation.",
            show_default="as many as make 1500 steps in all",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="With ray: address of a cluster, which sees the files and the folder under the "
            "same paths.",
            show_default="RAY_ADDRESS, or this machine",
        ),
    ] = None,
    cpus_per_member: Annotated[float, option("With ray: CPUs of a member.")] = 1.0,
    gpus_per_member: Annotated[
        float | None,
        typer.Option(
            help="With ray: GPUs of a member, such as 0.25.", show_default="its share of all"
        ),
    ] = None,
    **shared: Any,
) -> None:
    """Search for the best settings, and train with them; the same command goes on with a search."""
    from ceneurovae import console
    from ceneurovae.trial_process import ENVIRONMENT

    given = {
        parameter.name
        for parameter in context.command.params
        if parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name != "DEFAULT"
    }
    _refuse_of_other_engines(engine, given)
    searched = None if space is None else _read_space(space)
    if engine == "ray":
        from ceneurovae.ray_start import require_ray

        require_ray()
    splits, config = _read({**shared, "files": files})
    quiet = shared["quiet"]
    try:
        with console.progress_bar(quiet) as progress:
            console.choose_backend(shared["backend"], ENVIRONMENT)
            console.import_keras(progress)
            from ceneurovae import hypermodel, recipe, tuning
            from ceneurovae.pipeline import stream
            from ceneurovae.search_table import showing_trials

        if engine == "ray":
            own = (population, generations, epochs_per_generation)
            ray = {
                "address": address,
                "cpus_per_member": cpus_per_member,
                "gpus_per_member": gpus_per_member,
            }
            _tune_population(splits, config, out, searched, given, own, objective, shared, ray)
            return
        if searched is None:
            searched = {n: values for n, values in hypermodel.SPACE.items() if n not in given}
        settings = {name: shared[name] for name in hypermodel.SETTINGS if name not in searched}
        size = shared["batch_size"] or recipe.BATCH_SIZE
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
    if result.run_dir is None:
        if not quiet:
            console.say("The search is over. Its chief trains with the best.")
        return
    _show(result.run_dir, splits, f"{len(result.trials)} trials", result.best, quiet)


def _tune_population(
    splits: "Splits",
    config: "VAEConfig",
    out: Path,
    space: "JSON | None",
    given: set[str],
    size: tuple[int, int, int | None],
    objective: str,
    shared: "JSON",
    ray: "JSON",
) -> None:
    """Population-based training with the options of the command, and what is said of it."""
    from ceneurovae import console
    from ceneurovae.hypermodel import SETTINGS
    from ceneurovae.pipeline import stream
    from ceneurovae.population import space_for
    from ceneurovae.population_table import showing_members
    from ceneurovae.ray_tuning import tune_population
    from ceneurovae.recipe import BATCH_SIZE

    if space is None:
        space = {n: values for n, values in space_for(config).items() if n not in given}
    train_ds, valid_ds, _ = stream(splits, shared["batch_size"] or BATCH_SIZE, seed=shared["seed"])
    with showing_members(objective, shared["quiet"]) as report:
        result = tune_population(
            train_ds,
            valid_ds,
            out,
            config,
            space,
            size[0],
            size[1],
            size[2],
            objective,
            shared["seed"],
            overwrite=shared["overwrite"],
            report=report,
            **ray,
            **{name: shared[name] for name in SETTINGS},
        )
    _show(result.run_dir, splits, f"{len(result.members)} members", result.best, shared["quiet"])
    for row in () if shared["quiet"] else result.schedule:
        values = ", ".join(f"{n} {value}" for n, value in row["hyperparameters"].items())
        console.say(f"Generation {row['generation']}, as member {row['member']}: {values}")


def _refuse_of_other_engines(engine: str, given: set[str]) -> None:
    """Raises a `ValueError` for options that an engine does not know."""
    if engine not in OF_ENGINE:
        raise ValueError(f"engine is {engine!r}, expected one of {', '.join(OF_ENGINE)}.")
    for other, names in OF_ENGINE.items():
        wrong = [f"--{name.replace('_', '-')}" for name in names if name in given]
        if other != engine and wrong:
            raise ValueError(
                f"{', '.join(wrong)} is for the engine {other}, but this one is {engine}. Leave it "
                f"out, or give --engine {other}."
            )


def _read_space(path: Path) -> "JSON":
    try:
        space = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    if not isinstance(space, dict):
        raise ValueError(f"'{path}' holds a {type(space).__name__}, expected names and values.")
    return space


def _read(given: "JSON") -> "tuple[Splits, VAEConfig]":
    splits, config = read_data(given)
    if not len(splits.valid):
        raise ValueError("A search needs validation data: give a --valid-fraction above 0.")
    return splits, config


def _show(run_dir: Path, splits: "Splits", searched: str, best: "JSON | None", quiet: bool) -> None:
    """Evaluates the run with the best settings, and prints the results."""
    from ceneurovae import console
    from ceneurovae.evaluation import evaluate_run
    from ceneurovae.evaluation_table import show_evaluation

    evaluation = evaluate_run(run_dir, splits, imputation=False)
    values = ", ".join(f"{name} {value}" for name, value in (best or {}).items())
    show_evaluation(evaluation)
    if not quiet:
        console.say(f"Best of {searched}: {values}")
        console.say(f"Run folder: {run_dir}")
