"""The command line: what it prints, where, and what bad input gets."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import warnings

import h5py
import keras
import numpy as np
import pytest
from killed_runs import wait_for
from typer.main import get_command

from ceneurovae import VAEConfig, cli, import_h5, train
from ceneurovae.readers import ReadOptions, read_recordings

pytestmark = pytest.mark.once
# What the command does besides, which takes long to compile.
LEAN = ("--no-refit", "--no-augment", "--encoder-steps", "0")
# With which a bar begins.
HIDDEN_CURSOR = "\x1b[?25l"
RUN = [sys.executable, "-m", "ceneurovae"]


def run(*arguments):
    """Runs the command line in a process of its own."""
    return subprocess.run([*RUN, *map(str, arguments)], capture_output=True, text=True)


def error(capsys, monkeypatch, *arguments):
    """Runs a command that must fail, in this process: its one line on stderr."""
    monkeypatch.setattr(sys, "argv", ["ceneurovae", *map(str, arguments)])
    monkeypatch.setattr("warnings.showwarning", None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs a command that must succeed, in this process: what it says on stdout and stderr."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["ceneurovae", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert not caught.value.code, said.err
        return said

    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    with warnings.catch_warnings():  # the command line shows warnings in its own way
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
        yield run_here


@pytest.fixture(scope="module")
def trained(simulated_worms, tmp_path_factory):
    """A run of the command line on a simulated worm, and what it printed."""
    out = tmp_path_factory.mktemp("cli") / "run"
    done = run(
        *("train", simulated_worms, "--out", out, "--channels", "behavior,neural/N01"),
        *("--seq-len", 12, "--latent-dim", 2, "--hidden-dim", 8, "--epochs", 2, *LEAN[1:]),
    )
    assert done.returncode == 0, done.stderr
    return out, done


def test_progress_without_a_terminal_is_lines(trained):
    err = trained[1].stderr
    assert re.search(r"Epoch 2/2  loss .*validation ELBO .*active latents \d  KL weight 1 ", err)
    assert "windows/s" in err


def test_runs_are_listed(trained, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert re.search(r"run .*mlp, 2 latents .* 2 ", command("runs", trained[0].parent).out)
    monkeypatch.setenv("COLUMNS", "80")
    cells = re.findall(r"^│ (\S+)", command("runs", trained[0].parent).out, flags=re.MULTILINE)
    assert "".join(cells) == str(trained[0])  # whole, on several lines
    (found,) = json.loads(command("runs", trained[0].parent, "--json").out)
    assert found["path"] == str(trained[0]) and found["finished"]


def test_train_prints_a_table_and_says_where_the_run_is(trained):
    out, done = trained
    assert re.search(r"test, refined .* \d\.\d{3} .* \d\.\d{3} ", done.stdout)
    assert f"Run folder: {out}" in done.stderr
    config = json.loads((out / "config.json").read_text())
    assert config["model"]["channels"] == 4
    assert (config["training"]["epochs"], config["training"]["seed"]) == (2, 0)
    splits = json.loads((out / "split.json").read_text())
    first = {name: runs[0]["first"] for name, runs in splits["splits"].items()}
    # 200 samples, windows of 12: test from 80 %, and 12 % of the time before a gap of a window.
    assert first == {"train": 0, "valid": 200 - 40 - 12 - 24, "test": 160}


def test_a_run_is_resumed_with_what_it_has(trained, simulated_worms, capsys, monkeypatch):
    arguments = ("train", "--resume", trained[0], "--epochs", "3", simulated_worms)
    assert "leave out FILES, --epochs" in error(capsys, monkeypatch, *arguments)
    assert "FILES is missing: ceneurovae train" in error(capsys, monkeypatch, "train")
    arguments = ("train", "--resume", trained[0].parent)
    assert "There is no run in" in error(capsys, monkeypatch, *arguments)


def test_evaluate_prints_json_and_nothing_else(trained, command):
    out, done = trained
    metrics = json.loads(command("evaluate", out, "--json", "--refine", 1).out)
    assert metrics["refine"] == 1
    assert {"entries", "spans", "end", "channels"} <= set(metrics["test"]["imputation"])
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert f"{metrics['test']['r2']:.3f}" in done.stdout
    assert f"{metrics['baselines']['ppca']['r2']:.3f}" in done.stdout
    assert {"validation", "train"} <= set(metrics)
    for verdict in metrics["verdict"]:
        assert f"{verdict['code']}: " in done.stdout


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on any backend, fastest on PyTorch"
)
def test_evaluate_makes_the_controls_that_are_asked_for(trained, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = trained[0]
    asked = ("--decode", "neural/N02", "behavior/velocity", "--null", 1, "--seeds", 1)
    metrics = json.loads(command("evaluate", out, "--json", "--refine", 0, *asked).out)
    for name in ("null", "decoding", "seeds"):
        assert metrics.pop(name) == json.loads((out / f"{name}.json").read_text())
    assert metrics == json.loads((out / "metrics.json").read_text())
    said = command("evaluate", out, "--refine", 0, "--decode", "neural/N0[23],neural/N04").out
    for name in ("N02", "N03", "N04"):
        assert f"neural/{name} " in said
    assert (out / "null.json").exists()


def test_controls_that_cannot_be_made(trained, capsys, monkeypatch):
    out = trained[0]
    said = error(capsys, monkeypatch, "evaluate", out, "other")
    assert "There is a run too many: other. Evaluate one at a time." in said
    said = error(capsys, monkeypatch, "evaluate", out, "--decode", "behavior/speed")
    assert "has no channel 'behavior/speed'. Did you mean" in said


def test_encode_writes_latents_of_every_window(trained, simulated_worms, tmp_path, command):
    out = tmp_path / "new" / "latents.h5"
    command("encode", trained[0], simulated_worms, "--out", out, "--stride", 5, "--refine", 1)
    with h5py.File(out) as file:
        group = file["worms/worm_2"]
        assert group["mu"].shape == group["logvar"].shape == (38, 2)
        assert group["start"][()].tolist() == list(range(0, 189, 5))
        assert (group["stop"][()] - group["start"][()] == 12).all()
        assert group.attrs["sampling_rate"] == 2
        assert np.isfinite(group["mu"][()]).all()


def test_every_command_that_shows_a_bar_can_be_quiet():
    commands = get_command(cli.app).commands
    assert {"train", "tune", "evaluate", "encode", "report"} < set(commands)
    texts = set()
    for name in set(commands) - {"inspect", "runs"}:
        (quiet,) = [option for option in commands[name].params if option.name == "quiet"]
        assert quiet.opts == ["--quiet"] and not quiet.default, name
        texts.add(quiet.help)
    assert len(texts) == 1


def test_quiet_is_without_a_bar_and_a_closing_line(
    trained, simulated_worms, tmp_path, command, monkeypatch
):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    arguments = ("encode", trained[0], simulated_worms, "--refine", 0, "--stride", 12, "--out")
    said = command(*arguments, tmp_path / "latents.h5").err
    assert HIDDEN_CURSOR in said and f"in {tmp_path / 'latents.h5'}" in said
    said = command(*arguments, tmp_path / "quiet.h5", "--quiet")
    assert said.err == said.out == ""
    assert (tmp_path / "quiet.h5").exists()


class Filler:
    """In place of a model, which would have to be compiled: it fills in what it is asked for."""

    def imputations(self, x, num_samples, refine, seed):
        return np.where(np.isnan(x), refine, x) + np.zeros((1 + num_samples, 1, 1, 1))


def test_whole_recordings_are_written_and_inspected(
    trained, simulated_worms, tmp_path, command, monkeypatch
):
    filled, traces = tmp_path / "filled.h5", tmp_path / "traces.h5"
    arguments = (trained[0], simulated_worms, "--out")
    said = command("reconstruct", *arguments, traces, "--refine", 0, "--stride", 12).err
    assert re.search(
        r"Seam error: \d\.\d{3} standard deviations of a channel .* over 2 places", said
    )
    # A window each 12 of 200 samples, and one flush with the end.
    assert f"{2 * 17} windows of 2 recordings in {traces}" in said
    monkeypatch.setattr("ceneurovae.run_folder.RunFolder.load_model", lambda _: Filler())
    said = command("impute", *arguments, filled, "--refine", 7, "--num-samples", 5).err
    assert f"{2 * 64} windows of 2 recordings in {filled}" in said
    with h5py.File(filled) as file:
        found = {name: item[()] for name, item in file["worms/worm_2"].items()}
    assert set(found) == {"values", "observed", "low", "high"}
    assert {values.shape for values in found.values()} == {(200, 4)}
    assert not found["observed"].all()
    assert (found["values"][~found["observed"]] == 7).all()
    assert command("inspect", filled, traces).out.count("layout traces, 2 recordings") == 2


def test_a_constant_channel_is_kept_and_warned_about(tmp_path, command):
    values = np.random.default_rng(0).normal(size=(300, 2))
    values[:, 1] = 4
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = values
    said = command(
        *("train", tmp_path / "data.h5", "--out", tmp_path / "run", "--seq-len", 10),
        *("--hidden-dim", 8, "--latent-dim", 2, "--epochs", 1, "--stride", 5, *LEAN),
    )
    assert "Warning: Channel 'data/1' is constant: kept, with scale 1." in said.err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["channels"] == 2


def test_the_backend_can_be_chosen_and_is_said(simulated_worms, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    process = subprocess.Popen(
        [*RUN, "train", simulated_worms, "--out", tmp_path, "--seq-len", "12", *LEAN],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    wait_for(process, (tmp_path / "environment.json").exists)
    process.kill()
    _, err = process.communicate()
    backend = json.loads((tmp_path / "environment.json").read_text())["backend"]
    assert f"Backend: {backend} (the fastest that is installed" in err


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "FILE", "--json"]])
def test_light_commands_import_neither_tensorflow_nor_keras(arguments, simulated_worms):
    arguments = [str(simulated_worms) if a == "FILE" else a for a in arguments]
    code = (
        "import sys\n"
        "from ceneurovae.cli import main\n"
        f"sys.argv = ['ceneurovae', *{arguments}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'torch', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_inspect_lists_what_is_there(simulated_worms, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ceneurovae", "inspect", str(simulated_worms), "--json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["layout"] == "groups"
    assert [r["name"] for r in file["recordings"]] == ["worms/worm_1", "worms/worm_2"]
    behavior, neural = file["recordings"][0]["blocks"]
    assert [c["name"] for c in neural["channels"]][:2] == ["neural/N01", "neural/N02"]
    assert behavior["duration_s"] == 100
    missing = [c["missing"] for c in behavior["channels"] + neural["channels"]]
    assert 0 < max(missing) < 0.5


def test_inspect_prints_a_table(simulated_worms):
    done = run("inspect", simulated_worms)
    assert done.returncode == 0, done.stderr
    assert "layout groups" in done.stdout
    assert "worms/worm_1: 2 Hz" in done.stdout
    assert "velocity" in done.stdout


def test_inspect_never_cuts_a_name(tmp_path, capsys, monkeypatch):
    name = "a_very_long_name_of_a_dataset_that_nobody_would_type_from_memory"
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file[name] = np.zeros((1000, 3))
    monkeypatch.setattr(sys, "argv", ["ceneurovae", "inspect", str(tmp_path / "data.h5")])
    with pytest.raises(SystemExit):
        cli.main()
    cells = re.findall(r"^│ (\S*)", capsys.readouterr().out, flags=re.MULTILINE)
    assert "".join(cells) == name


def test_bad_files(tmp_path, capsys, monkeypatch, simulated_worms):
    def message(path, *more):
        arguments = ("train", path, "--out", tmp_path / "run", "--seq-len", 20, *more)
        text = error(capsys, monkeypatch, *arguments)
        assert not (tmp_path / "run").exists()
        return text

    def write(name, values):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = values
        return tmp_path / name

    values = np.random.default_rng(0).normal(size=(500, 2))
    assert "There is no file" in message(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    assert "is not a file that can be read: neither HDF5" in message(tmp_path / "text.h5")
    (tmp_path / "half.h5").write_bytes(write("whole.h5", values).read_bytes()[:5000])
    assert "is cut off" in message(tmp_path / "half.h5")
    assert "holds no numeric dataset" in message(write("names.h5", ["a", "b"]))
    assert "Did you mean neural/N01" in message(simulated_worms, "--channels", "neural/N1")
    assert "has 10 samples but the window is 20" in message(write("short.h5", values[:10]))
    infinite = values.copy()
    infinite[3, 1] = np.inf
    assert "channel 'data/1' is infinite" in message(write("inf.h5", infinite))
    missing = values.copy()
    missing[:, 1] = np.nan
    assert "Channel 'data/1' is missing (NaN) throughout" in message(write("nan.h5", missing))
    assert "have different channels" in message(
        write("whole.h5", values), write("narrow.h5", values[:, :1])
    )


def test_bad_arguments(tmp_path, capsys, monkeypatch, simulated_worms, trained):
    out = tmp_path / "run"
    options = (simulated_worms, "--seq-len", 12, "--out")
    assert "holds a run already" in error(capsys, monkeypatch, "train", *options, trained[0])
    assert "backbone is 'cnn'" in error(
        capsys, monkeypatch, "train", *options, out, "--backbone", "cnn"
    )
    assert "channels is ' ,', expected names with commas between" in error(
        capsys, monkeypatch, "train", *options, out, "--channels", " ,"
    )
    assert "The backend is 'numpy', expected" in error(
        capsys, monkeypatch, "train", *options, out, "--backend", "numpy"
    )
    assert "There is no run in" in error(capsys, monkeypatch, "evaluate", tmp_path)
    target = tmp_path / "latents.h5"
    target.write_text("mine")
    arguments = ("encode", trained[0], simulated_worms, "--out", target)
    assert "exists. Choose another file or pass --overwrite" in error(
        capsys, monkeypatch, *arguments
    )
    assert "refine is -1, expected a whole number" in error(
        capsys, monkeypatch, "impute", *arguments[1:], "--overwrite", "--refine", -1
    )
    assert "stride is 20, expected a whole number from 1 to 12" in error(
        capsys, monkeypatch, "reconstruct", *arguments[1:], "--overwrite", "--stride", 20
    )
    assert target.read_text() == "mine"
    for name in ("encode", "impute", "reconstruct"):
        arguments = (name, trained[0], simulated_worms, "--out", tmp_path, "--overwrite")
        assert "is a folder, expected the name of a file" in error(capsys, monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.toml", 'seq_len = 12\nchannels = ["behavior"]\nlatent_dim = 3\nepochs = 0'),
        (
            "settings.json",
            '{"seq_len": 12, "channels": "behavior, ", "latent_dim": 3, "epochs": 0}',
        ),
    ],
)
def test_config_file_sets_options_and_the_command_line_overrides(
    name, text, tmp_path, capsys, monkeypatch, simulated_worms
):
    (tmp_path / name).write_text(text)
    seen = {}

    def stop(splits, config, out, seed, batch_size, **settings):
        seen.update(splits=splits, config=config, **settings)
        raise ValueError("enough")

    monkeypatch.setattr("ceneurovae.runs.train_run", stop)
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))
    monkeypatch.setattr(
        sys,
        "argv",
        [
            *("ceneurovae", "train", str(simulated_worms), "--out", str(tmp_path / "run")),
            *("--config", str(tmp_path / name), "--latent-dim", "5"),
        ],
    )
    with pytest.raises(SystemExit):
        cli.main()
    assert "enough" in capsys.readouterr().err
    assert len(seen["splits"].train.channels) == 3
    assert seen["splits"].train.seq_len == 12
    assert seen["config"].latent_dim == 5
    assert seen["epochs"] == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.json", '{"latents": 3}', "sets latents; known are align"),
        ("bad.json", "{", "is neither TOML nor JSON"),
        ("bad.toml", "= 3", "is neither TOML nor JSON"),
        ("bad.json", "[3]", "holds a list, expected names and values"),
    ],
)
def test_config_file_errors(name, text, message, tmp_path, capsys, monkeypatch, simulated_worms):
    (tmp_path / name).write_text(text)
    arguments = ("train", simulated_worms, "--out", tmp_path / "run", "--config", tmp_path / name)
    assert message in error(capsys, monkeypatch, *arguments)
    arguments = (*arguments[:-1], tmp_path / "none.json")
    assert "There is no file" in error(capsys, monkeypatch, *arguments)


def test_options_are_those_of_the_library_with_the_same_defaults():
    options = inspect.signature(cli.train).parameters
    fields = {f.name: f.default for f in dataclasses.fields(VAEConfig)}
    library = {
        name: parameter.default
        for function in (import_h5, train, read_recordings, ReadOptions)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    # Not for the command line: data as objects, callbacks, what the command line decides itself.
    own = {"paths", "shuffle", "masks", "model", "train_ds", "valid_ds", "run_dir", "resume"}
    own |= {"callbacks", "verbose", "reading", "options", "channel_groups"}
    # What the command line does otherwise: it sets test data aside, which a refit leaves alone,
    # and takes lists as text.
    other = {"test_fraction", "refit", "channels", "hide", "seq_len", "seed"}
    for name, default in {**library, **fields}.items():
        if name in own:
            continue
        assert name in options, name
        if name not in other:
            assert options[name].default == default, name
