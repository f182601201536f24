"""The folder of a training run: what was asked for, what came out, and how to do it again.

    config.json         settings of the model and of the training
    split.json          files, channels, and which samples are train, validation and test
    environment.json    versions, backend, devices, command, git revision, data files
    history.csv         one row per epoch
    model.keras         the model with its best weights so far
    checkpoint.npz      the state of the training after an epoch, from which it is resumed
    choices.json        what was chosen on validation data
    schedule.json       hyperparameters of each generation, of the best member of a population
    metrics.json        what `evaluate` found
    null.json           refits on data without what channels share in time
    decoding.json       labels read from the latents
    seeds.json          how well refits with other seeds agree
    refits/seed_N/      the run folder of such a refit
    report.html         all of it to look at

This module is the only one that reads or writes them.
"""

import csv
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ceneurovae.checkpoint import FitState
from ceneurovae.config import VAEConfig
from ceneurovae.environment import describe_environment, describe_files
from ceneurovae.hints import JSON, PathLike
from ceneurovae.whole_file import remove_remains, whole_file

FILES = (
    "config.json",
    "split.json",
    "environment.json",
    "history.csv",
    "model.keras",
    "checkpoint.npz",
    "choices.json",
    "schedule.json",
    "metrics.json",
    "null.json",
    "decoding.json",
    "seeds.json",
    "report.html",
)
REFITS = "refits"
LOCK, HOLDER = ".lock", ".holder.json"


class RunFolder:
    """A run that exists.

    Args:
        path: Its folder.

    Raises:
        FileNotFoundError: if the folder holds no run.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if not is_run(path):
            raise FileNotFoundError(
                f"There is no run in '{path}'. Give the folder that `ceneurovae train` wrote to."
            )

    @classmethod
    def create(
        cls,
        path: PathLike,
        config: VAEConfig,
        training: JSON,
        manifest: JSON | None,
        overwrite: bool = False,
    ) -> Self:
        """Starts a run.

        Args:
            path: Folder, made if need be.
            config: `VAEConfig`.
            training: Arguments of the training, JSON types.
            manifest: Manifest of the splits, or `None` where the data did not come from files.
            overwrite: Whether to replace a run that is there. Other files are left alone.

        Raises:
            FileExistsError: if there is a run and `overwrite` is false.
        """
        check_free(path, overwrite)
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path / REFITS, ignore_errors=True)
        _write_json(path / "split.json", manifest)
        environment = describe_environment()
        paths = () if manifest is None else (r["path"] for r in manifest["recordings"])
        environment["seed"] = training.get("seed")
        environment["files"] = describe_files(paths)
        _write_json(path / "environment.json", environment)
        _write_json(path / "config.json", {"model": config.to_dict(), "training": training})
        return cls(path)

    @classmethod
    @contextmanager
    def held(cls, path: PathLike) -> Iterator[None]:
        """A context in which no other process may write to the run in `path`.

        Raises:
            BlockingIOError: if another process holds it; the message says which.
        """
        from filelock import FileLock, Timeout

        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = _read_holder(path / HOLDER)
            raise BlockingIOError(
                f"'{path}' is being trained by {holder}. Wait for it, or choose another folder."
            ) from None
        try:
            remove_remains(path)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            holder = {"process": os.getpid(), "host": platform.node(), "since": since}
            _write_json(path / HOLDER, holder)
            yield
        finally:
            (path / HOLDER).unlink(missing_ok=True)
            lock.release()

    def require_same(self, config: VAEConfig, training: JSON, manifest: JSON | None) -> None:
        """Raises a `ValueError` unless the run is one of these settings, data and backend."""
        import keras

        own = {**self._read_json("config.json")["model"], **self.training}
        given = {**config.to_dict(), **training}
        for name, value in json.loads(json.dumps(given)).items():
            came_later = name not in own and not value  # a setting at its default
            left_open = name in ("seed", "give_up") and value is None
            if own.get(name) != value and not (came_later or left_open):
                raise ValueError(
                    f"The run in '{self.path}' has {name}={own.get(name)!r}, received {value!r}. "
                    "Resume it with its own settings, or train into another folder."
                )
        if self._read_json("split.json") != json.loads(json.dumps(manifest)):
            raise ValueError(
                f"The run in '{self.path}' was trained on other data, or data split in another "
                "way. Resume it with its own data, or train into another folder."
            )
        environment = self.environment
        if environment["backend"] != keras.backend.backend():
            raise ValueError(
                f"The run in '{self.path}' was trained on {environment['backend']}, but Keras is "
                f"on {keras.backend.backend()}. Set KERAS_BACKEND={environment['backend']}."
            )
        recorded = environment.get("files", [])
        for before, now in zip(
            recorded, describe_files(file["path"] for file in recorded), strict=True
        ):
            if before != now:
                raise ValueError(
                    f"'{before['path']}' has changed since the run in '{self.path}' began. "
                    "Restore the file, or train again."
                )

    @property
    def environment(self) -> JSON:
        """What `environment.json` holds."""
        return self._read_json("environment.json")

    @property
    def training(self) -> JSON:
        """The arguments of the training."""
        return self._read_json("config.json")["training"]

    def write_checkpoint(self, state: FitState) -> None:
        """Writes the `FitState` of the training."""
        state.write(self.path / "checkpoint.npz")

    def read_checkpoint(self) -> FitState | None:
        """The `FitState` that was written last, `None` before there is one."""
        from ceneurovae.checkpoint import FitState

        path = self.path / "checkpoint.npz"
        return FitState.read(path) if path.exists() else None

    @property
    def is_finished(self) -> bool:
        """Whether its training came to its end."""
        return (self.path / "choices.json").exists()

    @property
    def refitted(self) -> bool:
        """Whether its model was in the end trained on validation data too."""
        return self.is_finished and bool(self.training.get("refit"))

    @property
    def config(self) -> VAEConfig:
        """The `VAEConfig`."""
        return VAEConfig.from_dict(self._read_json("config.json")["model"])

    @property
    def manifest(self) -> JSON:
        """The manifest of the splits.

        Raises:
            ValueError: if the run was trained on arrays, which are in no file.
        """
        manifest = self.read_manifest()
        if manifest is None:
            raise ValueError(
                f"The run in '{self.path}' was not trained on the datasets of import_h5, so its "
                "test data is not known. Call ceneurovae.evaluate with the model and the data."
            )
        return manifest

    def read_manifest(self) -> JSON | None:
        """The manifest of the splits, `None` if the run was trained on arrays."""
        return self._read_json("split.json")

    def save_model(self, model: Any) -> None:
        """Writes `model.keras`."""
        with whole_file(self.path / "model.keras") as temporary:
            model.save(temporary)

    def load_model(self) -> Any:
        """The model with its best weights."""
        import keras

        import ceneurovae.model  # noqa: F401  registers the classes

        path = self.path / "model.keras"
        if not path.exists():
            raise FileNotFoundError(f"The run in '{self.path}' has no model.keras yet.")
        return keras.saving.load_model(path)

    @property
    def has_model(self) -> bool:
        """Whether there is a model yet."""
        return (self.path / "model.keras").exists()

    @property
    def has_history(self) -> bool:
        """Whether an epoch is over."""
        return (self.path / "history.csv").exists()

    @property
    def has_metrics(self) -> bool:
        """Whether it was evaluated."""
        return (self.path / "metrics.json").exists()

    def finish(self, model: Any, choices: JSON | None) -> None:
        """Writes the trained model, and what was chosen on validation data (or `None`)."""
        self.save_model(model)
        _write_json(self.path / "choices.json", choices)

    @property
    def choices(self) -> JSON | None:
        """What was chosen on validation data, `None` where there was none."""
        return self._read_json("choices.json") if (self.path / "choices.json").exists() else None

    def write_schedule(self, schedule: Sequence[JSON]) -> None:
        """Writes `schedule.json`: what the best member of a population went through."""
        _write_json(self.path / "schedule.json", schedule)

    @property
    def schedule(self) -> list[JSON] | None:
        """Dictionaries, one for each generation; `None` for a run that was trained alone.

        Each has `generation`, the `member` that trained it, `epochs`, how many were over after it,
        `hyperparameters` and `score`.
        """
        schedule: Any = self.read_control("schedule")
        return schedule

    def refine_steps(self, refine: int | None = None) -> int:
        """Steps in which latents are refined: `refine`, or what helped on validation data.

        Args:
            refine: Number of steps; `None` for those of `choices`, 0 where nothing was chosen.

        Raises:
            ValueError: if it is no number of steps.
        """
        if refine is None:
            return (self.choices or {}).get("refine", 0)
        if not isinstance(refine, int) or refine < 0:
            raise ValueError(f"refine is {refine!r}, expected a whole number of at least 0.")
        return refine

    def write_history(self, rows: Sequence[JSON]) -> None:
        """Writes `history.csv` from dictionaries, one per epoch; what one lacks stays empty."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        with whole_file(self.path / "history.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=names)
            writer.writeheader()
            writer.writerows(rows)

    def read_history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, as dictionaries of the numbers that they have."""
        with open(self.path / "history.csv", newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def write_metrics(self, metrics: JSON) -> None:
        """Writes `metrics.json`."""
        _write_json(self.path / "metrics.json", metrics)

    def read_metrics(self) -> JSON:
        """What `write_metrics` wrote."""
        return self._read_json("metrics.json")

    def write_control(self, name: str, content: JSON) -> None:
        """Writes what a control found; its name is `null`, `decoding` or `seeds`."""
        _write_json(self.path / f"{name}.json", content)

    def read_control(self, name: str) -> JSON | None:
        """What `write_control` wrote, `None` before that."""
        return self._read_json(f"{name}.json") if (self.path / f"{name}.json").exists() else None

    def refit_path(self, seed: int) -> Path:
        """Folder of the run that is this one, trained anew with another seed."""
        return self.path / REFITS / f"seed_{seed}"

    def require_finished(self) -> None:
        """Raises a `ValueError` if its training did not come to its end."""
        if not self.is_finished:
            raise ValueError(
                f"The training of the run in '{self.path}' was interrupted. To go on: ceneurovae "
                f"train --resume {self.path}"
            )

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"'{self.path / name}' is not JSON: {error}.") from error


def is_run(path: PathLike) -> bool:
    """Whether `path` is a run folder."""
    return (Path(path) / "config.json").exists()


def check_free(path: PathLike, overwrite: bool = False) -> None:
    """Raises a `FileExistsError` if `path` cannot become a run folder without `overwrite`."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"'{path}' is a file, expected a folder for the run.")
    if is_run(path) and not overwrite:
        raise FileExistsError(
            f"'{path}' holds a run already. Choose another folder or pass --overwrite "
            "(overwrite=True)."
        )


def _write_json(path: Path, content: Any) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _read_holder(path: Path) -> str:
    """Who holds a run, in words; the file may be about to be written or removed."""
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return "another process"
    return "process {process} on {host}, since {since}".format(**holder)
