"""The folder of a training run: what was asked for, what came out, and how to do it again.

    config.json         settings of the model and of the training
    split.json          files, channels, and which samples are train, validation and test
    environment.json    versions, backend, command
    history.csv         one row per epoch
    model.keras         the model with its best weights so far
    last.keras          the model after the last epoch, with its optimizer
    choices.json        what was chosen on validation data
    metrics.json        what `evaluate` found

This module is the only one that reads or writes them.
"""

import csv
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

from ceneurovae.config import VAEConfig
from ceneurovae.whole_file import whole_file

FILES = (
    "config.json",
    "split.json",
    "environment.json",
    "history.csv",
    "model.keras",
    "last.keras",
    "choices.json",
    "metrics.json",
)
PACKAGES = ("ceneurovae", "keras", "tensorflow", "jax", "torch", "numpy", "h5py", "scikit-learn")


class RunFolder:
    """A run that exists.

    Args:
        path: Its folder.

    Raises:
        FileNotFoundError: if the folder holds no run.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not is_run(path):
            raise FileNotFoundError(
                f"There is no run in '{path}'. Give the folder that `ceneurovae train` wrote to."
            )

    @classmethod
    def create(cls, path, config, training, manifest, overwrite=False):
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
        _write_json(path / "split.json", manifest)
        _write_json(path / "environment.json", _environment())
        _write_json(path / "config.json", {"model": config.to_dict(), "training": training})
        return cls(path)

    @property
    def config(self):
        """The `VAEConfig`."""
        return VAEConfig.from_dict(self._read_json("config.json")["model"])

    @property
    def manifest(self):
        """The manifest of the splits.

        Raises:
            ValueError: if the run was trained on arrays, which are in no file.
        """
        manifest = self._read_json("split.json")
        if manifest is None:
            raise ValueError(
                f"The run in '{self.path}' was not trained on the datasets of import_h5, so its "
                "test data is not known. Call ceneurovae.evaluate with the model and the data."
            )
        return manifest

    def save_model(self, model, name):
        """Writes `model` as `model.keras` or `last.keras`."""
        with whole_file(self.path / name) as temporary:
            model.save(temporary)

    def load_model(self):
        """The model with its best weights."""
        import keras

        import ceneurovae.model  # noqa: F401  registers the classes

        path = self.path / "model.keras"
        if not path.exists():
            raise FileNotFoundError(f"The run in '{self.path}' has no model.keras yet.")
        return keras.saving.load_model(path)

    @property
    def has_model(self):
        """Whether there is a checkpoint yet."""
        return (self.path / "model.keras").exists()

    def finish(self, model, choices):
        """Writes the trained model, and what was chosen on validation data (or `None`)."""
        self.save_model(model, "model.keras")
        _write_json(self.path / "choices.json", choices)

    @property
    def choices(self):
        """What was chosen on validation data, `None` where there was none."""
        return self._read_json("choices.json") if (self.path / "choices.json").exists() else None

    def refine_steps(self, refine=None):
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

    def write_history(self, rows):
        """Writes `history.csv` from dictionaries, one per epoch; what one lacks stays empty."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        with whole_file(self.path / "history.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=names)
            writer.writeheader()
            writer.writerows(rows)

    def read_history(self):
        """The rows of `history.csv`, as dictionaries of the numbers that they have."""
        with open(self.path / "history.csv", newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def write_metrics(self, metrics):
        """Writes `metrics.json`."""
        _write_json(self.path / "metrics.json", metrics)

    def read_metrics(self):
        """What `write_metrics` wrote."""
        return self._read_json("metrics.json")

    def _read_json(self, name):
        try:
            return json.loads((self.path / name).read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"'{self.path / name}' is not JSON: {error}.") from error


def is_run(path):
    """Whether `path` is a run folder."""
    return (Path(path) / "config.json").exists()


def check_free(path, overwrite=False):
    """Raises a `FileExistsError` if `path` cannot become a run folder without `overwrite`."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"'{path}' is a file, expected a folder for the run.")
    if is_run(path) and not overwrite:
        raise FileExistsError(
            f"'{path}' holds a run already. Choose another folder or pass --overwrite "
            "(overwrite=True)."
        )


def _write_json(path, content):
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _environment():
    import keras

    try:
        devices = keras.distribution.list_devices()
    except (AttributeError, NotImplementedError):  # PyTorch has no list in Keras
        devices = None
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "backend": keras.backend.backend(),
        "devices": devices,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
    }
