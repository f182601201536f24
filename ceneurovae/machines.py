"""Training shared between machines: one process on each, all of them one training on JAX.

Keras' own variables say who takes part: `KERAS_DISTRIBUTION_JOB_ADDRESSES`, host and port of the
first process, or of all with commas between; `KERAS_DISTRIBUTION_NUM_PROCESSES`; and
`KERAS_DISTRIBUTION_PROCESS_ID`, from 0.
"""

import atexit
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ceneurovae.tracking import working

VARIABLES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)
# What JAX says of a process that it cannot reach any more, in errors of several types.
LOST = re.compile(
    r"\b(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|FAILED_PRECONDITION|DEADLINE_EXCEEDED): "
    r".*([Gg]loo|NCCL|[Cc]onnection|[Cc]oordination|[Hh]eartbeat|[Bb]roken pipe)",
    re.DOTALL,
)
# Says the last line that it was told, if there is something in it, once its parent is gone.
WATCHER = """
import sys
line = ""
for line in sys.stdin:
    pass
if line.strip():
    print(line.strip(), file=sys.stderr)
"""
LOST_STATUS = 1


class Place(NamedTuple):
    """Which process this is, from 0, and how many take part."""

    number: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.number == 0

    @property
    def several(self) -> bool:
        """Whether others take part."""
        return self.processes > 1

    def __str__(self) -> str:
        return f"Process {self.number} of {self.processes} (from 0)"


class _Party:
    """What JAX does once in a process, and who tells of its end."""

    joined = parted = False
    watcher: subprocess.Popen[str] | None = None

    def watch(self) -> None:
        """Starts a process that outlives this one: JAX ends it without a word to Python.

        It does so where the first process is gone, or where another one was silent for 100 s.
        """
        self.watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCHER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is not for it
        )
        # Before JAX, which was registered earlier, waits for the others.
        atexit.register(leave, LOST_STATUS)

    def tell(self, line: str) -> None:
        """Gives the watcher its last words; none, and it ends in silence."""
        if self.watcher is not None and self.watcher.stdin is not None:
            with suppress(BrokenPipeError):  # it was killed
                self.watcher.stdin.write(" ".join(line.split()) + "\n")
                self.watcher.stdin.flush()

    def dismiss(self) -> None:
        """Lets the watcher end in silence."""
        if self.watcher is not None and self.watcher.stdin is not None:
            self.tell("")
            with suppress(BrokenPipeError):
                self.watcher.stdin.close()
            self.watcher.wait()
            self.watcher = None


_party = _Party()


def place(distribute: str | None = "auto") -> Place:
    """Where the environment puts this process.

    Raises:
        ValueError: if variables are missing or make no sense.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if distribute is None or not given:
        return Place()
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{', '.join(given)} is set, but {', '.join(missing)} is not. To train on several "
            f"machines set all of {', '.join(VARIABLES)}; on one, none."
        )
    addresses, count, number = given.values()
    for name, value in zip(VARIABLES[1:], (count, number), strict=True):
        if not value.isdecimal():
            raise ValueError(f"{name} is '{value}', expected a whole number.")
    here = Place(int(number), int(count))
    if not here.number < here.processes:
        raise ValueError(
            f"{VARIABLES[2]} is {number}, expected a number from 0 to {here.processes - 1}, as "
            f"{VARIABLES[1]} is {count}."
        )
    listed = addresses.split(",")
    if any(not re.fullmatch(r".+:\d+", address) for address in listed):
        raise ValueError(
            f"{VARIABLES[0]} is '{addresses}', expected host:port, as in 10.0.0.1:12345."
        )
    if len(listed) not in (1, here.processes):
        raise ValueError(
            f"{VARIABLES[0]} has {len(listed)} addresses for {here.processes} processes. Give that "
            "of the first process, or all."
        )
    return here


def require_jax(backend: str) -> None:
    """Raises a `ValueError` if several machines are asked for on a backend other than JAX."""
    asked = [name for name in VARIABLES if os.environ.get(name)]
    if backend == "tensorflow" and _workers() > 1:
        asked.append("TF_CONFIG")
    if backend == "jax" or not asked:
        return
    why = {
        "tensorflow": "under Keras 3, TensorFlow's MultiWorkerMirroredStrategy fails in fit with "
        "'Attempt to convert a value (PerReplica...) with an unsupported type' (Keras issue 20585)",
        "torch": "Keras has no distribution for PyTorch",
    }[backend]
    raise ValueError(
        f"{', '.join(asked)} asks for several machines, but the backend is {backend}: {why}. Train "
        f"on JAX: set KERAS_BACKEND=jax and, on every machine, {', '.join(VARIABLES)}. For the "
        "devices of this machine alone, unset what was named first."
    )


def _workers() -> int:
    """Workers of `TF_CONFIG`, the chief among them."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(cluster.get(role, ())) for role in ("chief", "worker"))
    except (AttributeError, TypeError, ValueError):
        return 0


def join_machines() -> Place:
    """Waits for the other processes that the environment names, and makes JAX one with them.

    Call it before anything is computed, so before a model is made; `train_run` and the command
    line do so. Without the variables, nothing happens. A process that has joined and ends before
    its training does ends all the others.

    Returns:
        The `Place` of this process.

    Raises:
        ValueError: if the variables make no sense, the backend is not JAX, it has computed
            something already, or the machines differ in their devices.
        ConnectionError: if the others do not come within 5 minutes.
    """
    import keras

    require_jax(keras.backend.backend())
    here = place()
    if not here.several or _party.joined:
        return here
    _require_not_parted()
    import jax
    from jax.experimental import multihost_utils

    _party.watch()
    _party.tell(f"Error: {here} did not find the others at {os.environ[VARIABLES[0]]}.")
    if getattr(jax.config, "jax_cpu_collectives_implementation", None) is None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        # Gloo counts its peers on stdout.
        with working("Waiting for the other machines"), _silent_stdout():
            keras.distribution.initialize()
            _party.joined = True
            multihost_utils.sync_global_devices("ceneurovae")
    except RuntimeError as error:
        _party.dismiss()
        if "must be called before" in str(error):
            raise ValueError(
                "Something was computed on JAX before this process joined the others. Call "
                "ceneurovae.machines.join_machines() first, before a model is made."
            ) from error
        raise ConnectionError(
            f"{here} did not find the others at {os.environ[VARIABLES[0]]}: {error}"
        ) from error
    _party.tell(f"Error: {here} was killed, or lost another one.")
    _require_equal(here, jax.local_device_count(), jax.device_count())
    return here


def _require_equal(here: Place, own: int, devices: int) -> None:
    if own * here.processes != devices:
        raise ValueError(
            f"{here} has {own} of {devices} devices. Give every machine the same number, for "
            "instance by CUDA_VISIBLE_DEVICES."
        )


def _require_not_parted() -> None:
    if _party.parted:
        raise ValueError(
            "This process has had its training with other machines. Start one anew for the next."
        )


@contextmanager
def _silent_stdout() -> Iterator[None]:
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def leave(status: int) -> None:
    """Ends this process at once if it has joined others that still count on it.

    In the ordinary way JAX would wait for them, and they for this one.
    """
    _party.dismiss()
    if _party.joined:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Machines:
    """The processes of one training, as one of them sees them.

    Args:
        distribute: `"auto"`, or `None` for this process alone.

    Raises:
        ValueError: if the environment names others that were not joined.
    """

    def __init__(self, distribute: str | None = None) -> None:
        import keras

        self.place = Place()
        if distribute is None:
            return
        require_jax(keras.backend.backend())
        wanted = place()
        if keras.backend.backend() != "jax":
            return
        _require_not_parted()
        import jax

        self.place = Place(jax.process_index(), jax.process_count())
        if self.several and not _party.joined:  # by the caller's own `initialize`
            _party.joined = True
            _party.watch()
        if wanted.several and not self.several:
            raise ValueError(
                f"{VARIABLES[1]} is {wanted.processes}, but this process is alone. Call "
                "ceneurovae.machines.join_machines() first, before a model is made."
            )

    @property
    def first(self) -> bool:
        """Whether this process writes to the run folder, and makes the choices."""
        return self.place.first

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.place.several

    def share(self, content: bytes) -> bytes:
        """What the first process gives; the others wait for it, 30 minutes at most under Gloo."""
        if not self.several:
            return content
        import numpy as np
        from jax.experimental.multihost_utils import broadcast_one_to_all

        length = int(broadcast_one_to_all(np.int32(len(content))))
        given = np.zeros(length, "uint8")
        if self.first:
            given[:] = np.frombuffer(content, "uint8")
        return np.asarray(broadcast_one_to_all(given)).astype("uint8").tobytes()

    def require_same(self, **parts: object) -> None:
        """Raises a `ValueError`, in the processes that differ, unless all were given the same.

        Args:
            **parts: JSON types.
        """
        for name, content in parts.items():
            text = json.dumps(content, sort_keys=True)
            own = re.sub(" at 0x[0-9a-f]+", "", text).encode()  # of a function, such as a schedule
            if self.share(own) != own:
                raise ValueError(
                    f"{self.place} has other {name} than the first one. Start all with the same "
                    "files, at the same paths, and the same settings."
                )

    @contextmanager
    def together(self, how_to_go_on: str) -> Iterator[None]:
        """A context of what all do together; without errors, they part at its end.

        Args:
            how_to_go_on: Sentence for who lost a process.

        Raises:
            ConnectionError: if another process is gone.
        """
        if not self.several:
            yield
            return
        _party.tell(f"Error: {self.place} was killed, or lost another one. {how_to_go_on}")
        try:
            yield
            self._part()
        except Exception as error:
            if not LOST.search(str(error)):
                raise
            raise ConnectionError(
                f"{self.place} has lost another one, which was killed, or says itself why it "
                f"ended. {how_to_go_on}"
            ) from error

    def _part(self) -> None:
        """Waits until all are here; what follows, each does alone."""
        import jax

        jax.distributed.shutdown()
        _party.joined, _party.parted = False, True
        _party.dismiss()
