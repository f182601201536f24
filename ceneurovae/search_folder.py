"""The folder of a search, of either engine: what was asked for, and whether it can go on."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from ceneurovae.config import VAEConfig, fitted_to
from ceneurovae.model.scaler import iterate_batches
from ceneurovae.run_folder import check_free
from ceneurovae.whole_file import whole_file

# What `search.json` says of the engine; searches that do not say are of Keras Tuner.
KERAS_TUNER, RAY = "keras-tuner", "ray"
ENGINES = (KERAS_TUNER, RAY)
# Where an engine keeps files of its own, and what both write.
FOLDERS = {KERAS_TUNER: "search", RAY: "ray"}
FILES = ("search.json", "trials.json", "trials.csv", "members.json", "members.csv")
# The run with what was found to be best.
BEST = "best"


def config_for(config: VAEConfig, data: Any) -> VAEConfig:
    """A `VAEConfig` with the length and the channels of training data."""
    if hasattr(data, "source"):
        return fitted_to(config, data.source)
    _, steps, channels = next(iterate_batches(data)).shape
    return dataclasses.replace(config, seq_len=steps, channels=channels)


def check_folder(out: Path, recorded: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Raises an error unless a search can begin, or go on, in a folder.

    Args:
        out: The folder.
        recorded: What `begin` would write; a search that is there has to be the same.
        resume: Whether to go on with a search.
        overwrite: Whether to replace it.

    Raises:
        FileExistsError: if it holds a run, or a search and neither is asked for.
        ValueError: if the search there is another one.
    """
    check_free(out)
    file = out / "search.json"
    if overwrite or not file.exists():
        return
    if not resume:
        raise FileExistsError(
            f"'{out}' holds a search already. Choose another folder, or pass resume=True or "
            "overwrite=True (--overwrite)."
        )
    before = {"engine": KERAS_TUNER, **json.loads(file.read_text())}
    for name, value in json.loads(json.dumps(recorded)).items():
        if before.get(name) != value:
            told = "" if name == "data" else f": {before.get(name)!r}, received {value!r}"
            raise ValueError(
                f"The search in '{out}' has another {name}{told}. Go on with its own, or search in "
                "another folder."
            )


def begin(out: Path, recorded: dict[str, Any], overwrite: bool) -> None:
    """Writes `search.json`, and removes what was there before if it is to be replaced."""
    if overwrite:
        for name in FOLDERS.values():
            shutil.rmtree(out / name, ignore_errors=True)
        for name in FILES:
            (out / name).unlink(missing_ok=True)
    with whole_file(out / "search.json") as file:
        file.write_text(json.dumps(recorded, indent=2) + "\n")
