"""`tune_population`: population-based training with Ray Tune, here or on a cluster."""

import contextlib
import dataclasses
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from ceneurovae.config import VAEConfig
from ceneurovae.generation import finish
from ceneurovae.pipeline import PackedData, steps_per_epoch
from ceneurovae.population import Member, MemberReport, Population
from ceneurovae.ray_start import ray_running, require_ray
from ceneurovae.recipe import batch_size_for, default_epochs
from ceneurovae.run_folder import RunFolder
from ceneurovae.search import write_trials
from ceneurovae.search_folder import BEST, FOLDERS, RAY, begin, check_folder, config_for

# Of the members, the share that takes over from as many of the best after a generation.
SHARE = 0.25
# Hyperparameters are drawn anew with this probability, and are multiplied by one of these else.
ANEW, FACTORS = 0.25, (1.2, 0.8)
# Checkpoints of a member that are kept: others begin with the last one, or go on with it.
KEPT = 4

Report = Callable[[tuple[MemberReport, ...]], None]


@dataclasses.dataclass(frozen=True)
class PopulationResult:
    """What `tune_population` gives.

    Args:
        best: Hyperparameters of the best member in its last generation, values by name.
        schedule: Tuple of dictionaries, what the weights of the best member went through: the
            `hyperparameters` of each `generation`, the `member` that trained it, and its `score`.
        members: Tuple of `MemberReport`.
        run_dir: Run folder of the best member.
    """

    best: dict[str, Any]
    schedule: tuple[dict[str, Any], ...]
    members: tuple[MemberReport, ...]
    run_dir: Path


def tune_population(
    train_ds: Any,
    valid_ds: Any,
    out: str | Path,
    config: VAEConfig | None = None,
    space: dict[str, Any] | None = None,
    population: int = 4,
    generations: int = 5,
    epochs_per_generation: int | None = None,
    objective: str = "elbo",
    seed: int = 0,
    resume: bool = True,
    overwrite: bool = False,
    address: str | None = None,
    cpus_per_member: float = 1,
    gpus_per_member: float | None = None,
    report: Report | None = None,
    verbose: Any = 0,
    **settings: Any,
) -> PopulationResult:
    """Trains a population whose hyperparameters change on the way, and keeps its best member.

    After each generation the worst quarter of the members takes over weights and optimizer of the
    best quarter, with hyperparameters near theirs: each is multiplied by 0.8 or 1.2, moves on to
    the next choice, or, with probability 0.25, is drawn anew (Jaderberg et al., 2017; AutoLFADS:
    Keshtkaran et al., 2022). It is Ray Tune's `PopulationBasedTraining`, with `pip install
    'ceneurovae[ray]'`. The first member begins with the settings of `config`, the others with draws
    from the space. The learning rate falls along the cosine of `train` over all generations: what
    a member has as `lr` is where that begins.

    Scores are of the validation data, with KL weight 1 whatever a member trains with, and are
    compared after the ramp of the KL weight. A member that diverges is the worst; one that fails
    in another way is noted with its message, and the others go on. `members.csv` and
    `members.json` in `out` list them.

    There is no refit: what the best member went through is a schedule, not a setting. Each
    generation of a member begins in a process that has to load Keras, which takes seconds:
    let it be minutes long.

    A search that was interrupted goes on when it is called again with the same arguments. Ray
    keeps its state in `out/ray`, pickled: go on only in folders that you trust.

    Args:
        train_ds, valid_ds: Training and validation data, as for `train`.
        out: Folder of the search. On a cluster all machines see it, and the data files, under
            the same path.
        config: `VAEConfig` with what does not change; length and channels are those of the data.
        space: What changes, as for `Population`: out of `lr`, `kl_weight`, `dropout`, `hide_share`,
            `free_bits`, `capacity` and `noise`; by default the first three, and `hide_share` where
            `config` hides something.
        population: Number of members.
        generations: How often they are compared, the last time to choose the best.
        epochs_per_generation: Times through the training data in between; by default so many that
            all generations together are as long as a training of `train`.
        objective: `"elbo"` or `"r2"`.
        seed: Decides hyperparameters, weights and the order of the windows.
        resume: Whether to go on with a search in `out`.
        overwrite: Whether to replace a search in `out`.
        address: Of a Ray cluster; by default that in the environment variable `RAY_ADDRESS`, else
            Ray is started here, for the time of the search. A connection that there is, from
            `ray.init`, is used in any case.
        cpus_per_member: CPUs for each member that trains. So many as fit train at a time.
        gpus_per_member: GPUs likewise, such as 0.25 for four members on one; by default all
            members share what there is.
        report: Function of a tuple of `MemberReport`, called whenever something has changed.
        verbose: As for `train`, for what is left to do in the end.
        **settings: Settings of `train` that do not change.

    Returns:
        `PopulationResult`; its `run_dir` is `out/best`, an ordinary run folder, whose
        `schedule.json` has the schedule.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if an argument cannot be used, the search in `out` is another, or no member came
            to its end.
        FileExistsError: if `out` holds a search, and `resume` and `overwrite` are false.
        BlockingIOError: if another process searches in `out`.
        ConnectionError: if there is no cluster at `address`.
        KeyboardInterrupt: after Ctrl-C, once the state was written.
    """
    require_ray()
    _check_resources(cpus_per_member, gpus_per_member)
    if valid_ds is None:
        raise ValueError("A population needs valid_ds, on which its members are compared.")
    out = Path(out)
    config = config_for(config or VAEConfig(), train_ds)
    if epochs_per_generation is None:
        size = batch_size_for(train_ds, settings.get("batch_size"))
        epochs = default_epochs(steps_per_epoch(train_ds, size))
        epochs_per_generation = -(-epochs // max(1, generations))
    shared = Population(
        config,
        space,
        population,
        generations,
        epochs_per_generation,
        objective,
        seed,
        settings,
    )
    recorded = _recorded(shared, train_ds)
    check_folder(out, recorded, resume, overwrite)

    def tell(members: tuple[MemberReport, ...]) -> None:
        write_trials(out, members, "members")
        if report is not None:
            report(members)

    data = (PackedData.of(train_ds), PackedData.of(valid_ds))
    with ray_running(address):
        resources = _resources(population, cpus_per_member, gpus_per_member)
        with RunFolder.held(out):
            begin(out, recorded, overwrite)
            members, folder = _search(shared, data, out, resources, tell)
            best = Member(0)
            best.take_over(folder)
            run_dir = finish(shared, best, train_ds, valid_ds, out / BEST, verbose)
    last = dict(best.schedule[-1]["hyperparameters"])
    return PopulationResult(last, tuple(best.schedule), members, run_dir)


def _search(
    population: Population,
    data: tuple[PackedData, PackedData],
    out: Path,
    resources: dict[str, float],
    tell: Report,
) -> tuple[tuple[MemberReport, ...], Path]:
    """Runs a search to its end: its members, and the folder of the best one's last checkpoint."""
    from ray import tune

    from ceneurovae.ray_member import RayMember, number_of
    from ceneurovae.ray_watch import Watch, watching

    task = pickle.dumps((population, *data))
    trainable = tune.with_resources(
        tune.with_parameters(RayMember, backend=keras.backend.backend(), task=task), resources
    )
    folder = out.resolve() / FOLDERS[RAY]
    if tune.Tuner.can_restore(str(folder)):
        tuner = tune.Tuner.restore(str(folder), trainable)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"hyperparameters": tune.grid_search(population.beginnings())},
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(population),
                reuse_actors=True,
                trial_dirname_creator=_folder_of,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                stop={"training_iteration": population.generations},
                checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT, checkpoint_at_end=True),
                callbacks=[Watch()],
                verbose=0,
            ),
        )
    found: list[MemberReport] = []

    def note(members: tuple[MemberReport, ...]) -> None:
        found[:] = [_unless_over(member, population.generations) for member in members]
        tell(tuple(found))

    with watching(note), _silent("ray.tune"):
        results = tuner.fit()
    if any(member.status in ("running", "waiting") for member in found):
        raise KeyboardInterrupt
    completed = [m for m in found if m.status == "completed" and m.score is not None]
    if not completed:
        messages = [member.message for member in found if member.message]
        raise ValueError(
            f"None of {len(found)} members came to its end; of the last one: "
            f"{messages[-1] if messages else 'nothing is known'}"
        )
    best = max(completed, key=lambda member: member.score or 0.0).number
    for index in range(len(results)):
        metrics, checkpoint = results[index].metrics, results[index].checkpoint
        if metrics and checkpoint and number_of(metrics["trial_id"]) == best:
            return tuple(found), Path(checkpoint.path)
    raise FileNotFoundError(f"Ray has no checkpoint of member {best} in '{folder}'.")


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """A context in which a logger says nothing: what failed is in the members' messages."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _unless_over(member: MemberReport, generations: int) -> MemberReport:
    """A member as it is: what Ray ended because it was interrupted is not completed."""
    if member.status == "completed" and member.generation < generations:
        return dataclasses.replace(member, status="waiting")
    return member


def _scheduler(population: Population) -> Any:
    from ray import tune

    from ceneurovae.ray_generations import Generations

    def resampled(values: Any) -> Any:
        if isinstance(values, list):
            return values
        low, high, scale = values
        return (tune.loguniform if scale == "log" else tune.uniform)(low, high)

    space = population.space or {}
    return Generations(
        seed=population.seed,
        first_compared=population.first_compared,
        hyperparam_mutations={
            "hyperparameters": {name: resampled(values) for name, values in space.items()}
        },
        quantile_fraction=SHARE,
        resample_probability=ANEW,
        perturbation_factors=FACTORS,
        custom_explore_fn=_Within(population),
    )


class _Within:
    """Moves what Ray made of hyperparameters back into the space."""

    def __init__(self, population: Population) -> None:
        self.population = population

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "hyperparameters": self.population.within(config["hyperparameters"])}


def _folder_of(trial: Any) -> str:
    from ceneurovae.ray_member import number_of

    return f"member_{number_of(trial.trial_id)}"


def _recorded(population: Population, train_ds: Any) -> dict[str, Any]:
    """What `search.json` says; a search goes on if it is the same."""
    splits = getattr(train_ds, "splits", None)
    return {
        "engine": RAY,
        "model": population.config.to_dict(),
        "space": population.space,
        "settings": {name: repr(value) for name, value in population.settings.items()},
        "population": population.population,
        "generations": population.generations,
        "epochs_per_generation": population.epochs_per_generation,
        "objective": population.objective,
        "seed": population.seed,
        "backend": keras.backend.backend(),
        "data": splits and splits.manifest(),
    }


def _check_resources(cpus: float, gpus: float | None) -> None:
    if not cpus > 0:
        raise ValueError(f"cpus_per_member is {cpus!r}, expected a number above 0.")
    if gpus is not None and not gpus >= 0:
        raise ValueError(f"gpus_per_member is {gpus!r}, expected a number of at least 0.")


def _resources(population: int, cpus: float, gpus: float | None) -> dict[str, float]:
    """What a member is given, for `ray.tune.with_resources`.

    Raises:
        ValueError: if there is no room for one.
    """
    import ray

    there = ray.cluster_resources()
    if gpus is None:
        gpus = min(1.0, there.get("GPU", 0.0) / population)
    for name, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > there.get(name, 0.0):
            raise ValueError(
                f"A member is to have {wanted:g} {name}s, but Ray has {there.get(name, 0.0):g} in "
                f"all. Give {name.lower()}s_per_member a smaller number."
            )
    return {"cpu": cpus, "gpu": gpus}
