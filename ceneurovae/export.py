"""A trained model for other software: a TensorFlow SavedModel, or files for ONNX Runtime.

Whatever the backend, a model is saved, loaded under TensorFlow and exported there. Every export is
run before it is put in its place, and compared with the model it was made from.
"""

import datetime
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ceneurovae.environment import describe_environment
from ceneurovae.hints import JSON, Array, PathLike
from ceneurovae.run_folder import RunFolder

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

FORMATS = ("savedmodel", "onnx")
MARKS = ("saved_model.pb", "encode.onnx")
# Windows that an export is compared on: one alone, and the others together.
PROBES = 8


def export_saved_model(
    model: "NeuroBehaviorVAE", path: PathLike, metadata: JSON | None = None, overwrite: bool = False
) -> None:
    """Writes a TensorFlow SavedModel, which runs without this package and without Keras.

    Its signatures are `serving_default` (as `model.reconstruct`), `encode`, `decode` and `impute`,
    with named inputs (`x`, or `z` for `decode`) and outputs (`reconstruction`; `mu` and `logvar`;
    `imputed`). They take any number of windows, in raw units with NaN for missing, and give raw
    units. `metadata.json` beside it says what they are.

    Args:
        model: `NeuroBehaviorVAE`, on any backend.
        path: Folder to write.
        metadata: What else `metadata.json` is to say, JSON types: `channels`, `units`, ...
        overwrite: Whether to replace an export that is there.

    Raises:
        FileExistsError: if there is something in `path`.
        ValueError: if the export does not compute what the model does. Nothing is left behind.
    """
    _export(model, path, "savedmodel", metadata, overwrite)


def export_onnx(
    model: "NeuroBehaviorVAE", path: PathLike, metadata: JSON | None = None, overwrite: bool = False
) -> None:
    """Writes `encode.onnx`, `decode.onnx`, `reconstruct.onnx` and `impute.onnx` for ONNX Runtime.

    Inputs, outputs and `metadata.json` are as those of `export_saved_model`.

    Args:
        model, path, metadata, overwrite: As for `export_saved_model`.

    Raises:
        ImportError: if what it takes is not installed.
        FileExistsError, ValueError: as `export_saved_model` does.
    """
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"{package} is not installed: pip install 'ceneurovae[onnx]'.")
    _export(model, path, "onnx", metadata, overwrite)


def export_run(
    run: PathLike, path: PathLike, format: str = "savedmodel", overwrite: bool = False
) -> None:
    """Exports the model of a run folder, with the channels and the rate of its data.

    Args:
        run: Run folder.
        path: Folder to write.
        format: `"savedmodel"` or `"onnx"`.
        overwrite: Whether to replace an export that is there.

    Raises:
        ValueError: if the format is unknown.
        FileNotFoundError, FileExistsError, ImportError: as the functions above.
    """
    require_format(format)
    check_free(path, overwrite)
    run = RunFolder(run)
    export = {"savedmodel": export_saved_model, "onnx": export_onnx}[format]
    export(run.load_model(), path, describe_run(run), overwrite)


def require_format(format: str) -> None:
    """Raises a `ValueError` unless there is such a format."""
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, expected one of {', '.join(FORMATS)}.")


def describe_run(run: RunFolder) -> JSON:
    """Channels, units and sampling rate of the data of a `RunFolder`, `None` where not known."""
    manifest = run.read_manifest()
    if manifest is None:
        return {}
    rates = {recording["rate_hz"] for recording in manifest["recordings"]}
    return {
        "channels": manifest["channels"],
        "units": None,  # no reader tells them
        "sampling_rate_hz": rates.pop() if len(rates) == 1 else None,
    }


def check_free(path: PathLike, overwrite: bool = False) -> None:
    """Raises a `FileExistsError` unless an export may be written to `path`."""
    path = Path(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not any((path / mark).exists() for mark in MARKS):
        raise FileExistsError(f"'{path}' is there and holds no export. Choose another folder.")
    if not overwrite:
        raise FileExistsError(
            f"'{path}' holds an export already. Choose another folder or pass --overwrite "
            "(overwrite=True)."
        )


def _export(
    model: "NeuroBehaviorVAE", path: PathLike, format: str, metadata: JSON | None, overwrite: bool
) -> None:
    import keras

    check_free(path, overwrite)
    path = Path(path)
    with _whole_folder(path) as folder:
        work, result = folder / "work", folder / "result"
        work.mkdir()
        result.mkdir()
        model.save(work / "model.keras")
        probes = make_probes(model)
        np.savez(work / "probes.npz", **probes)
        batch = {name: values[1:] for name, values in probes.items()}
        for name, outputs in compute(model, batch).items():
            np.savez(work / f"{name}.npz", **outputs)
        if keras.backend.backend() == "tensorflow":
            from ceneurovae.tensorflow_export import write_export

            differences = write_export(work, result, format)
        else:
            differences = _write_in_child(work, result, format)
        description = {
            **_describe(model, format),
            **(metadata or {}),
            "largest_differences": differences,
        }
        (result / "metadata.json").write_text(json.dumps(description, indent=2) + "\n")


def make_probes(model: "NeuroBehaviorVAE") -> JSON:
    """Windows `x` that a model might meet, with gaps of several kinds, and latents `z`."""

    import keras

    rng = np.random.default_rng(0)
    z = rng.standard_normal((PROBES, model.config.latent_dim)).astype("float32")
    x = np.array(model.decode(z))
    if model.likelihood.can_be_augmented:  # not counts, nor zeros and ones
        deviations = rng.standard_normal(x.shape).astype("float32")
        x += 0.3 * keras.ops.convert_to_numpy(model.scaler.std) * deviations
    x[rng.random(x.shape) < 0.1] = np.nan
    x[1, -(x.shape[1] // 4) :] = np.nan
    x[2, :, 0] = np.nan
    x[3] = model.decode(z[3:4])[0]  # one with nothing missing
    return {"x": x, "z": z}


def compute(model: "NeuroBehaviorVAE", inputs: dict[str, Array]) -> dict[str, JSON]:
    """What the methods give, by name: `{"encode": {"mu": ..., "logvar": ...}, ...}`."""
    return {
        "encode": model.encode(inputs["x"])._asdict(),
        "decode": {"reconstruction": model.decode(inputs["z"])},
        "reconstruct": {"reconstruction": model.reconstruct(inputs["x"])},
        "impute": {"imputed": model.impute(inputs["x"])},
    }


def _describe(model: "NeuroBehaviorVAE", format: str) -> JSON:
    environment = describe_environment()
    config = model.config
    window = [None, model.decoder.seq_len, model.decoder.channels]
    latents = [None, config.latent_dim]
    signatures = {
        "encode": ({"x": window}, {"mu": latents, "logvar": latents}),
        "decode": ({"z": latents}, {"reconstruction": window}),
        "reconstruct": ({"x": window}, {"reconstruction": window}),
        "impute": ({"x": window}, {"imputed": window}),
    }
    if format == "savedmodel":
        signatures["serving_default"] = signatures.pop("reconstruct")
    return {
        "format": format,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "channels": None,
        "units": None,
        "sampling_rate_hz": None,
        "window_samples": window[1],
        "latents": config.latent_dim,
        "likelihood": config.reconstruction_loss,
        "config": config.to_dict(),
        "signatures": {
            name: {
                side: {key: {"shape": shape, "dtype": "float32"} for key, shape in parts.items()}
                for side, parts in zip(("inputs", "outputs"), pair, strict=True)
            }
            for name, pair in signatures.items()
        },
        "backend": environment["backend"],
        "python": platform.python_version(),
        "versions": environment["versions"],
    }


def _write_in_child(work: Path, result: Path, format: str) -> dict[str, float]:
    """`write_export` in a process with TensorFlow as the backend, without the GPU of this one."""
    import keras

    here = str(Path(__file__).parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    backend = keras.backend.backend()
    command = [sys.executable, "-m", "ceneurovae.tensorflow_export", work, result, format, backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if (work / "error.txt").exists():
        raise ValueError((work / "error.txt").read_text())
    if done.returncode:
        raise RuntimeError(f"The export under TensorFlow failed: {done.stderr.strip()[-2000:]}")
    return json.loads((work / "differences.json").read_text())


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` whose `result` is put in its place when the block ends well."""
    folder = path.with_name(f".{os.getpid()}-{path.name}")
    folder.mkdir(parents=True)
    try:
        yield folder
        if path.exists():
            os.replace(path, folder / "before")
        os.replace(folder / "result", path)
    finally:
        shutil.rmtree(folder)
