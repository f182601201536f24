"""The half of an export that runs under TensorFlow: write it, run it, compare it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import ceneurovae.model  # noqa: F401  registers the classes
from ceneurovae.hints import JSON, Array
from ceneurovae.model import NeuroBehaviorVAE

NAMES = ("encode", "decode", "reconstruct", "impute")
# Largest difference, in the scale of a channel or latent, within one framework.
TOLERANCE = 1e-5
# The same between two frameworks, where latents are refined. Derivatives are finite differences
# by 1e-2, in which the rounding of float32 counts a hundred times: measured were up to 5e-5 in
# `logvar` and 5e-6 in `mu`. And refinement ends where no latent moves by more than 1e-3, so that
# rounding may decide whether there is one more step.
REFINED_TOLERANCE = 1e-3


def write_export(
    work: Path, result: Path, format: str, backend: str = "tensorflow"
) -> dict[str, float]:
    """Writes an export of `work/model.keras` to the folder `result`.

    Args:
        work: Folder with the model, `probes.npz`, and what the model makes of them.
        result: Folder to write to.
        format: `"savedmodel"` or `"onnx"`.
        backend: Backend on which `work` was written.

    Returns:
        The largest difference of each output from the model under TensorFlow, and from what `work`
        holds of the model on its own backend, in scales of a channel or latent.

    Raises:
        ValueError: if it differs from the model under TensorFlow, or from what `work` holds of
            the model on its own backend.
    """
    import tensorflow as tf

    model = keras.saving.load_model(work / "model.keras", compile=False)
    functions = {
        name: tf.function(function, input_signature=[_input_spec(model, name)], autograph=False)
        for name, function in model.functions().items()
    }
    if format == "onnx":
        from ceneurovae.onnx_export import load_onnx, write_onnx

        write_onnx(functions, result)
        run = load_onnx(result)
    else:
        _write_saved_model(model, functions, result)
        run = _load_saved_model(result)
    with np.load(work / "probes.npz") as file:
        probes = dict(file)
    scales = _scales(model)
    differences = []
    for part in (slice(0, 1), slice(1, None)):
        inputs = {name: values[part] for name, values in probes.items()}
        found = {name: run(name, inputs[_input_name(name)]) for name in NAMES}
        expected = {
            name: _as_numpy(functions[name](tf.constant(inputs[_input_name(name)])))
            for name in NAMES
        }
        exact = format == "savedmodel"
        differences.append(_compare(found, expected, scales, model, exact))
    own = {}
    for name in NAMES:
        with np.load(work / f"{name}.npz") as file:
            own[name] = dict(file)
    exact = exact and backend == "tensorflow"
    differences.append(_compare(found, own, scales, model, exact))
    return {key: max(part[key] for part in differences) for key in differences[0]}


def _scales(model: NeuroBehaviorVAE) -> JSON:
    """The unit of the differences, for each output."""
    std = keras.ops.convert_to_numpy(model.scaler.std)
    return {"mu": 1.0, "logvar": 1.0, "reconstruction": std, "imputed": std}


def _compare(
    found: dict[str, dict[str, Array]],
    expected: dict[str, dict[str, Array]],
    scales: JSON,
    model: NeuroBehaviorVAE,
    exact: bool,
) -> dict[str, float]:
    """Largest differences, `{"encode mu": ...}`; a `ValueError` if they are larger than allowed."""
    differences = {}
    for name, outputs in expected.items():
        refined = name == "impute" or (name != "decode" and model.config.encoder_steps > 0)
        tolerance = TOLERANCE if exact or not refined else REFINED_TOLERANCE
        for key, values in outputs.items():
            difference = np.abs(found[name][key] - values)
            # Values themselves are known to a unit in the last place, and the latent or window
            # may be larger than the scale.
            unit = np.maximum(scales[key], _size(values))
            excess = np.maximum(difference - 2 * np.spacing(np.abs(values)), 0.0) / unit
            largest = float(excess.max())
            differences[f"{name} {key}"] = largest
            if not largest <= tolerance:
                raise ValueError(
                    f"The export differs from the model: {key} of {name} by {largest:.1e} of its "
                    f"scale, where {tolerance:.0e} is allowed. Nothing was written."
                )
    return differences


def _size(values: Array) -> Array:
    """How far the values of each channel or latent are spread, at most."""
    axes = tuple(range(values.ndim - 1))
    return values.max(axis=axes) - values.min(axis=axes)


def _write_saved_model(model: NeuroBehaviorVAE, functions: dict[str, Any], folder: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function in functions.items():
        archive.add_endpoint("serving_default" if name == "reconstruct" else name, function)
    archive.write_out(str(folder), verbose=False)


def _input_spec(model: NeuroBehaviorVAE, name: str) -> Any:
    """The `TensorSpec` of the input of a function of `model.functions()`."""
    import tensorflow as tf

    window = (None, model.decoder.seq_len, model.decoder.channels)
    shape = (None, model.config.latent_dim) if name == "decode" else window
    return tf.TensorSpec(shape, "float32", name=_input_name(name))


def _input_name(name: str) -> str:
    return "z" if name == "decode" else "x"


def _load_saved_model(folder: Path) -> Callable[[str, Array], dict[str, Array]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(name: str, values: Array) -> dict[str, Array]:
        signature = loaded.signatures["serving_default" if name == "reconstruct" else name]
        return _as_numpy(signature(**{_input_name(name): tf.constant(values)}))

    return run


def _as_numpy(outputs: dict[str, Any]) -> dict[str, Array]:
    return {key: value.numpy() for key, value in outputs.items()}


if __name__ == "__main__":
    work, result = map(Path, sys.argv[1:3])
    try:
        differences = write_export(work, result, *sys.argv[3:])
        (work / "differences.json").write_text(json.dumps(differences))
    except ValueError as error:
        (work / "error.txt").write_text(str(error))
        sys.exit(1)
