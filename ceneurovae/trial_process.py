"""Trials in a process of their own, so that their memory, and their end, are theirs alone.

What TensorFlow keeps of every model that it trained is freed when the process is replaced, which
happens once its memory has grown by a few percent. A trial that is killed for its memory, or
crashes, is a failed trial.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ceneurovae.hints import JSON

# A process that has grown by this share since its first trial is replaced.
GROWTH = 0.08
# An accelerator is shared by the process of the search and that of the trials.
ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class TrialProcess:
    """Runs trials, one after the other, in a child process that is started when it is needed.

    Args:
        task: Dictionary of what all trials share, which can be pickled: `hypermodel`, `data`,
            `epochs`, `callbacks`.
        log: File for what the process has to say.

    Raises:
        ValueError: if the task cannot be pickled.
    """

    def __init__(self, task: JSON, log: Path) -> None:
        try:
            self.task = pickle.dumps(task)
        except Exception as error:
            raise ValueError(
                f"The trials cannot be sent to a process of their own: {error}. Give callbacks "
                "that can be pickled, or isolate=False."
            ) from error
        self.log = log
        self.process: Any = None  # a `subprocess.Popen`
        self.first_memory: int | None = None
        self.answers: queue.Queue[Any] = queue.Queue()

    def run(
        self,
        hyperparameters: JSON,
        on_epoch: Callable[..., None],
        beat: Callable[[], None] | None = None,
        every_s: int = 10,
    ) -> dict[str, float]:
        """Runs a trial.

        Args:
            hyperparameters: `get_config()` of its `HyperParameters`.
            on_epoch: Function of the number of epochs that are over and of their last ELBO.
            beat: Function without arguments that is called every `every_s` seconds.

        Returns:
            What `VAEHyperModel.fit` gives.

        Raises:
            RuntimeError: if the trial failed; the message says why.
        """
        if self.process is None:
            self._start()
        content: Any
        try:
            self._send(hyperparameters)
            while True:
                try:
                    kind, content = self.answers.get(timeout=every_s)
                except queue.Empty:
                    if beat is not None:
                        beat()
                    continue
                if kind != "epoch":
                    break
                on_epoch(*content)
        except BrokenPipeError:
            kind, content = "ended", None
        except BaseException:
            self.stop()
            raise
        if kind == "ended":
            status = self.process.wait()
            self.stop()
            raise RuntimeError(_ending(status, self.log))
        memory, content = content
        self.first_memory = self.first_memory or memory
        if memory > (1 + GROWTH) * self.first_memory:
            self.stop()
        if kind == "failed":
            raise RuntimeError(content)
        return content

    def _start(self) -> None:
        import keras

        folders = [str(Path(__file__).parent.parent), *filter(None, sys.path)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ceneurovae.trial_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **ENVIRONMENT,
                    **os.environ,
                    "KERAS_BACKEND": keras.backend.backend(),
                    "PYTHONPATH": os.pathsep.join(folders),
                },
            )
        self.first_memory = None
        self.answers = queue.Queue()
        reading = (self.process.stdout, self.answers)
        threading.Thread(target=_read, args=reading, daemon=True).start()
        with contextlib.suppress(BrokenPipeError):  # it has ended: the next message tells
            self.process.stdin.write(self.task)
            self.process.stdin.flush()

    def _send(self, message: Any) -> None:
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process = None


def _read(pipe: Any, answers: queue.Queue[Any]) -> None:
    """Puts what comes out of a pipe into a queue, and `("ended", None)` at its end."""
    try:
        while True:
            answers.put(pickle.load(pipe))
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        answers.put(("ended", None))


def _ending(status: int, log: Path) -> str:
    if status == -signal.SIGKILL:
        return "The process of the trial was killed: perhaps there was not enough memory."
    lines = Path(log).read_text(errors="replace").strip().splitlines()
    return f"The process of the trial ended with status {status}: {lines[-1] if lines else ''}"


def run_trial(task: JSON, hyperparameters: JSON, on_epoch: Callable[..., None]) -> dict[str, float]:
    """Runs a trial in this process; arguments and result are those of `TrialProcess.run`.

    Raises:
        keras_tuner.errors.FailedTrialError: if it failed.
    """
    import copy

    import keras_tuner

    from ceneurovae.trial_progress import Report

    hypermodel = task["hypermodel"]
    hp = keras_tuner.HyperParameters.from_config(hyperparameters)
    train_ds, valid_ds = (data.unpacked() for data in task["data"])
    return hypermodel.fit(
        hp,
        hypermodel.build(hp),
        train_ds,
        validation_data=valid_ds,
        epochs=hp.values.get("tuner/epochs", task["epochs"]),
        callbacks=copy.deepcopy(task["callbacks"]),
        throughout=[Report(on_epoch)],
        verbose=0,
    )


def memory_in_use() -> int:
    """Bytes that this process holds; the most it ever held where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    """What the child does: reads the task, then hyperparameters, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed goes to the log

    def reply(kind: str, content: Any) -> None:
        try:
            pickle.dump((kind, content), replies)
            replies.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)

    task = pickle.load(requests)
    import gc

    import keras

    from ceneurovae.hypermodel import describe

    while True:
        try:
            hyperparameters = pickle.load(requests)
        except EOFError:
            return
        try:
            found = run_trial(task, hyperparameters, lambda *told: reply("epoch", told))
            kind = "done"
        except Exception as error:
            import traceback

            traceback.print_exc()
            kind, found = "failed", describe(error)
        keras.backend.clear_session()
        gc.collect()
        reply(kind, (memory_in_use(), found))


if __name__ == "__main__":
    main()
