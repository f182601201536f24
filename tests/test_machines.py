"""Processes train as one, end when one of them is gone, and go on; elsewhere it is said how."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import several_machines
from conftest import ROOT, tiny_config

from ceneurovae import NeuroBehaviorVAE, cli, machines, train
from ceneurovae.run_folder import RunFolder

BACKEND = keras.backend.backend()
ADDRESSES, COUNT, NUMBER = machines.VARIABLES
PAIR = {ADDRESSES: "127.0.0.1:12345", COUNT: "2", NUMBER: "1"}
# Long enough to start on a busy machine; a process that is killed is noticed at once.
PATIENCE_S = 300


def run_pair(run: Path, *file: Path, killed: tuple[int, int] = (-1, -1)) -> list[tuple]:
    """Exit status, stdout and stderr of two processes, killed at an epoch each, or never."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, ROOT / "tests" / "several_machines.py", str(epoch), run, *file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, ADDRESSES: address, COUNT: "2", NUMBER: str(number)},
        )
        for number, epoch in enumerate(killed)
    ]
    try:
        told = [process.communicate(timeout=PATIENCE_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *said) for process, said in zip(processes, told, strict=True)]


@pytest.mark.skipif(BACKEND != "jax", reason="several machines train on JAX only")
def test_two_processes_learn_what_one_does_though_each_is_killed_once(
    simulated_worms: Path, tmp_path: Path
) -> None:
    alone, run = tmp_path / "alone", tmp_path / "run"
    go_on = f"To go on, start all processes again: ceneurovae train --resume {run} --distribute"

    (status, _, left), (killed, _, gone) = run_pair(run, simulated_worms, killed=(-1, 3))
    assert (status, killed) == (machines.LOST_STATUS, -signal.SIGKILL), left
    assert "ConnectionError: Process 0 of 2 (from 0) has lost another one, which" in left
    assert go_on in left and go_on in gone
    assert len(RunFolder(run).read_history()) == 3

    (killed, _, gone), (status, _, left) = run_pair(run, killed=(6, -1))
    assert killed == -signal.SIGKILL and status not in (0, -signal.SIGKILL), (gone, left)
    assert go_on in left and go_on in gone
    assert len(RunFolder(run).read_history()) == 6

    (first, out, err), (second, *said) = run_pair(run)
    assert (first, second) == (0, 0), (err, said)
    assert "Held-out test data" in out and said[0] == ""
    assert "windows/s" in err and "windows/s" not in said[1]

    several_machines.train_here(alone, simulated_worms)
    histories = [RunFolder(path).read_history() for path in (alone, run)]
    assert [list(row) for row in histories[0]] == [list(row) for row in histories[1]]
    values = [[list(row.values()) for row in history] for history in histories]
    np.testing.assert_allclose(*map(np.concatenate, values), rtol=1e-4, atol=1e-4)
    steps = [RunFolder(path).read_checkpoint() for path in (alone, run)]
    assert [state.phase for state in steps] == ["fit", "fit"]
    assert int(steps[1].optimizer[0]) == several_machines.STEPS
    models = [RunFolder(path).load_model().get_weights() for path in (alone, run)]
    for one, two in zip(*models, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-3)


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({COUNT: ""}, f"{ADDRESSES}, {NUMBER} is set, but {COUNT} is not"),
        ({ADDRESSES: "", NUMBER: ""}, f"{COUNT} is set, but {ADDRESSES}, {NUMBER} is not"),
        ({COUNT: "two"}, f"{COUNT} is 'two', expected a whole number"),
        ({NUMBER: "-1"}, f"{NUMBER} is '-1', expected a whole number"),
        ({NUMBER: "2"}, f"{NUMBER} is 2, expected a number from 0 to 1, as {COUNT} is 2"),
        ({ADDRESSES: "10.0.0.1"}, "is '10.0.0.1', expected host:port"),
        ({ADDRESSES: "a:1,b:2,c:3"}, "has 3 addresses for 2 processes"),
    ],
)
def test_variables_that_make_no_sense(
    given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PAIR, **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        machines.place()
    assert machines.place(None) == (0, 1)


@pytest.mark.once
def test_the_command_line_says_so_before_it_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COUNT, "2")
    command = ["ceneurovae", "train", "no.h5", "--out", "no", "--distribute", "auto"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"Error: {COUNT} is set, but {ADDRESSES}, {NUMBER}")


@pytest.mark.once
def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PAIR:
        monkeypatch.delenv(name, raising=False)
    assert machines.place() == (0, 1) and machines.place().first
    for name, value in {**PAIR, ADDRESSES: "a:1,b:2"}.items():
        monkeypatch.setenv(name, value)
    here = machines.place()
    assert here == (1, 2) and here.several and not here.first
    with pytest.raises(ValueError, match="Process 1 of 2 .* has 2 of 3 devices. Give every mach"):
        machines._require_equal(here, 2, 3)


def test_only_who_has_joined_trains_with_others(
    windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NeuroBehaviorVAE(tiny_config())
    for name, value in PAIR.items():
        monkeypatch.setenv(name, value)
    message = {
        "jax": r"NUM_PROCESSES is 2, but this process is alone. Call .*join_machines\(\) first",
        "tensorflow": "the backend is tensorflow: .*PerReplica.*20585.* set KERAS_BACKEND=jax and",
        "torch": "the backend is torch: Keras has no .* set KERAS_BACKEND=jax and, on every",
    }[BACKEND]
    with pytest.raises(ValueError, match=message):
        train(model, windows, epochs=1, distribute="auto")
    late = "Something was computed on JAX before" if BACKEND == "jax" else message
    with pytest.raises(ValueError, match=late):
        machines.join_machines()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TF_CONFIG is for TensorFlow")
def test_workers_of_tensorflow_are_sent_to_jax(
    windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    with pytest.raises(ValueError, match="TF_CONFIG asks for several machines.*KERAS_BACKEND=jax"):
        train(NeuroBehaviorVAE(tiny_config()), windows, epochs=1, distribute="auto")
    for alone in ('{"cluster": {"worker": ["a:1"]}}', "[]", "no JSON"):
        monkeypatch.setenv("TF_CONFIG", alone)
        machines.require_jax(BACKEND)


@pytest.mark.once
def test_a_lost_process_is_told_from_other_errors() -> None:
    for error in (
        "UNKNOWN: Gloo all-reduce failed: pair.cc:547] Connection closed by peer [10.0.0.2]:64",
        "INTERNAL: Failed to disconnect from coordination service with status: INTERNAL",
    ):
        assert machines.LOST.search(error)
    for error in ("Channel 'heartbeat' is missing.", "INTERNAL: no room", "igloo.h5: Connection"):
        assert not machines.LOST.search(error)


@pytest.mark.once
def test_all_are_given_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = machines.Machines()
    alone.require_same(settings={"lr": 0.1})
    there = json.dumps({"kl_schedule": repr(test_places).split(" at 0x")[0] + ">"})
    monkeypatch.setattr(machines.Machines, "share", lambda self, own: there.encode())
    alone.require_same(settings={"kl_schedule": repr(test_places)})
    monkeypatch.setattr(machines.Machines, "share", lambda self, own: b'{"lr": 0.2}')
    with pytest.raises(ValueError, match="has other settings than the first one. Start all with"):
        alone.require_same(settings={"lr": 0.1})
