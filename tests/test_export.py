"""Exports: they compute what the model does, run without it, and appear whole or not at all."""

import importlib.util
import json
import re
import subprocess
import sys
import urllib.request
import warnings
from importlib.metadata import PackageNotFoundError, distribution

import keras
import numpy as np
import onnxruntime
import pytest
from conftest import ROOT, make_windows, tiny_config
from packaging.requirements import Requirement

from ceneurovae import NeuroBehaviorVAE, cli, export_onnx, export_saved_model
from ceneurovae.config import BACKBONES
from ceneurovae.import_data import load_splits
from ceneurovae.onnx_export import load_onnx, write_onnx
from ceneurovae.run_folder import RunFolder

BACKEND = keras.backend.backend()
# On the other backends the model is loaded under TensorFlow too, and then this is the same.
under_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="the same on any backend")


def perturbed_model(x, **fields):
    """A model all of whose weights are different from where they start, biases too."""
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(**fields))
    model.adapt(x)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(scale=0.1, size=weight.shape))
    factors = rng.normal(size=model.residual.own.shape)
    model.residual.own.assign(0.1 * factors @ factors.swapaxes(1, 2) + 0.1 * np.eye(12))
    model.residual.shared.assign(0.5)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with refinement, and its SavedModel."""
    model = perturbed_model(make_windows(50), encoder_steps=2)
    path = tmp_path_factory.mktemp("export") / "saved"
    export_saved_model(model, path, {"channels": ["a", "b", "c"]})
    return model, path


@pytest.fixture(scope="module")
def only_tensorflow(tmp_path_factory):
    """A folder with TensorFlow and all that it requires, and nothing else, as links."""
    folder = tmp_path_factory.mktemp("packages")
    wanted, found = ["tensorflow"], set()
    while wanted:
        name = wanted.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:  # it is part of another, or of no use here
            continue
        for top in {file.parts[0] for file in package.files} - {".."}:
            if not (folder / top).exists():
                (folder / top).symlink_to(package.locate_file(top))
        required = map(Requirement, package.requires or ())
        names = {r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})}
        wanted += names - found
        found |= names
    return folder


def test_a_saved_model_runs_where_only_tensorflow_is(exported, only_tensorflow, tmp_path):
    model, path = exported
    x, z = make_windows(7, seed=1), np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    np.savez(tmp_path / "in.npz", x=x, z=z)
    code = (
        "import importlib.util, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "others = 'ceneurovae', 'jax', 'torch', 'sklearn'\n"
        "assert not any(map(importlib.util.find_spec, others))\n"
        "import numpy as np, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "given, found = np.load('in.npz'), {}\n"
        "for name, signature in model.signatures.items():\n"
        "    key = 'z' if name == 'decode' else 'x'\n"
        "    for count in (1, 7):\n"
        "        outputs = signature(**{key: tf.constant(given[key][:count])})\n"
        "        for output, value in outputs.items():\n"
        "            found[f'{name} {output} {count}'] = value.numpy()\n"
        "np.savez('out.npz', **found)\n"
    )
    # Without the folder of what is installed for this Python.
    command = [sys.executable, "-I", "-S", "-c", code, str(path), str(only_tensorflow)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scale = keras.ops.convert_to_numpy(model.scaler.std)
    posterior, alone = model.encode(x), model.encode(x[:1])
    expected = {
        "serving_default reconstruction 7": model.reconstruct(x),
        "encode mu 7": posterior.mu,
        "encode logvar 7": posterior.logvar,
        "encode mu 1": alone.mu,
        "encode logvar 1": alone.logvar,
        "decode reconstruction 7": model.decode(z),
        "impute imputed 7": model.impute(x),
    }
    found = np.load(tmp_path / "out.npz")
    assert len(found.files) == 10 and set(expected) < set(found.files)
    for name, value in expected.items():
        unit = scale if value.ndim == 3 else 1
        spread = np.maximum(np.ptp(value, axis=tuple(range(value.ndim - 1))), unit)
        same = BACKEND == "tensorflow" or "decode" in name
        tolerance = 1e-5 if same else 1e-3  # see REFINED_TOLERANCE
        assert (np.abs(found[name] - value) / spread).max() < tolerance, name
    kept = ~np.isnan(x)
    np.testing.assert_array_equal(found["impute imputed 7"][kept], x[kept])


def test_metadata_says_what_there_is(exported):
    metadata = json.loads((exported[1] / "metadata.json").read_text())
    assert metadata["channels"] == ["a", "b", "c"] and metadata["units"] is None
    assert (metadata["window_samples"], metadata["latents"]) == (12, 2)
    assert metadata["likelihood"] == "gaussian" and metadata["backend"] == BACKEND
    assert set(metadata["signatures"]) == {"serving_default", "encode", "decode", "impute"}
    encode = metadata["signatures"]["encode"]
    assert encode["inputs"] == {"x": {"shape": [None, 12, 3], "dtype": "float32"}}
    assert encode["outputs"]["mu"] == {"shape": [None, 2], "dtype": "float32"}
    assert max(metadata["largest_differences"].values()) < 1e-3


def test_the_example_in_the_readme_serves_a_window_with_gaps(exported, only_tensorflow, tmp_path):
    model, path = exported
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (code,) = (block for block in blocks if "HTTPServer" in block)
    packages = f"import sys\nsys.path.insert(0, {str(only_tensorflow)!r})\n"
    (tmp_path / "serve.py").write_text(packages + code)
    command = [sys.executable, "-I", "-S", "serve.py", str(path), "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            x = make_windows(1, seed=2)
            x[0, 0, 1] = np.nan
            values = [[[None if v != v else v for v in row] for row in w] for w in x.tolist()]
            body = json.dumps({"x": values}).encode()
            found = {}
            for name in ("encode", "impute"):
                with urllib.request.urlopen(f"{address}/{name}", body) as answer:
                    found |= json.loads(answer.read())
        finally:
            server.terminate()
    assert None in values[0][-1] + values[0][0]
    np.testing.assert_allclose(found["mu"], model.encode(x).mu, atol=1e-3)
    assert np.isfinite(found["imputed"]).all()


def save_another(model, path):
    """Saves a model with another decoder than this one."""
    gain = float(keras.ops.convert_to_numpy(model.decoder.gain))
    model.decoder.gain.assign(gain + 1e-3)
    keras.Model.save(model, path)
    model.decoder.gain.assign(gain)


@under_tensorflow
def test_an_export_that_differs_is_an_error_and_leaves_nothing(exported, tmp_path, monkeypatch):
    model, path = exported
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    monkeypatch.setattr(NeuroBehaviorVAE, "save", save_another)
    message = "The export differs from the model: .* of .* by .* of its scale"
    with pytest.raises(ValueError, match=message):
        export_saved_model(model, path, overwrite=True)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_is_not_replaced(exported, tmp_path):
    model, path = exported
    with pytest.raises(FileExistsError, match="holds an export already. Choose another folder"):
        export_saved_model(model, path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no export. Choose another folder"):
        export_saved_model(model, tmp_path, overwrite=True)


@pytest.fixture
def without_tf2onnx(monkeypatch):
    found = importlib.util.find_spec
    missing = {"tf2onnx"}
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name in missing else found(name, *a)
    )


def test_a_missing_extra_is_named(exported, tmp_path, without_tf2onnx):
    with pytest.raises(ImportError, match=r"pip install 'ceneurovae\[onnx\]'"):
        export_onnx(exported[0], tmp_path / "onnx")


@pytest.fixture
def quiet():
    """Without the warnings that tf2onnx, and onnx when it is imported, cause in NumPy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@under_tensorflow
def test_onnx_computes_what_the_model_does(windows, tmp_path, quiet):
    model = perturbed_model(windows, encoder_steps=1, num_layers=1)
    export_onnx(model, tmp_path / "onnx")
    metadata = json.loads((tmp_path / "onnx" / "metadata.json").read_text())
    assert set(metadata["signatures"]) == {"encode", "decode", "reconstruct", "impute"}
    differences = metadata["largest_differences"]
    assert differences["decode reconstruction"] < 1e-5
    assert max(differences.values()) < 1e-3
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "reconstruct.onnx")
    (found,) = session.run(["reconstruction"], {"x": windows[:7]})
    expected = model.reconstruct(windows[:7])
    spread = np.ptp(expected, axis=(0, 1))
    assert (np.abs(found - expected) / spread).max() < 1e-4


@under_tensorflow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_is_the_same_in_onnx(windows, backbone, tmp_path, quiet):
    import tensorflow as tf

    model = perturbed_model(windows, backbone=backbone, num_layers=1)
    functions = model.functions()
    traced = {
        name: tf.function(functions[name], input_signature=[tf.TensorSpec(shape)], autograph=False)
        for name, shape in (("encode", (None, 12, 3)), ("decode", (None, 2)))
    }
    write_onnx(traced, tmp_path)
    run = load_onnx(tmp_path)
    for count in (1, 7):
        x = tf.constant(windows[:count])
        posterior = traced["encode"](x)
        expected = {
            "encode": posterior,
            "decode": traced["decode"](posterior["mu"]),
            "reconstruct": traced["decode"](posterior["mu"]),
        }
        for name, outputs in expected.items():
            found = run(name, np.array(posterior["mu"] if name == "decode" else x))
            for key, value in outputs.items():
                unit, axes = np.float32(1.0), 0
                if key == "reconstruction":
                    unit, axes = keras.ops.convert_to_numpy(model.scaler.std), (0, 1)
                spread = np.maximum(np.ptp(value, axis=axes), unit)
                assert (np.abs(found[key] - value) / spread).max() < 1e-5, (name, key)


@under_tensorflow  # which the command line exports under, whatever else is installed
def test_the_command_line_exports_a_run(simulated_worms, windows, tmp_path, monkeypatch, capsys):
    splits = load_splits(simulated_worms, ["behavior"], 12)
    model = perturbed_model(windows)
    run = RunFolder.create(tmp_path / "run", model.config, {}, splits.manifest())
    run.save_model(model)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ceneurovae", "export", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", None)
        with pytest.raises(SystemExit) as caught, warnings.catch_warnings():
            cli.main()
        return caught.value.code, capsys.readouterr().err

    monkeypatch.setenv("KERAS_BACKEND", BACKEND)
    arguments = (tmp_path / "run", "--out", tmp_path / "out")
    code, err = command(*arguments)
    assert not code, err
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert metadata["channels"] == list(splits.train.channels)
    assert metadata["sampling_rate_hz"] == 2
    code, err = command(*arguments)
    assert code == 2 and "holds an export already" in err
    code, err = command(*arguments, "--format", "tflite")
    assert code == 2 and "format is 'tflite', expected one of savedmodel, onnx" in err
