"""The contexts in which commands work: Keras is there, and a bar on stderr shows what is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def keras_at_work(backend: str | None, quiet: bool) -> "Iterator[Progress]":
    """A context in which Keras is there, on a backend, and a bar shows what is done.

    Args:
        backend: As for `console.choose_backend`.
        quiet: Whether nothing is shown or said.
    """
    from ceneurovae import console
    from ceneurovae.tracking import showing

    with console.progress_bar(quiet) as progress, showing(console.tracker(progress)):
        console.choose_backend(backend)
        console.import_keras(progress)
        yield progress


@contextmanager
def training_at_work(
    run: Path,
    backend: str | None,
    quiet: bool,
    batch_size: int | None,
    tensorboard: bool = False,
    first: bool = True,
) -> Iterator[list[Any]]:
    """As `keras_at_work`, for training: yields the callbacks that show how far it is.

    Who interrupts it is told how to go on, and the exit status is that of the signal.

    Args:
        run: Run folder to write.
        backend, quiet: As for `keras_at_work`.
        batch_size: Windows in a batch, `None` for the default.
        tensorboard: Whether curves are written to `RUN/tensorboard`.
        first: Of several processes that train together, whether this is the one that shows it.
    """
    from ceneurovae import console
    from ceneurovae.run_folder import is_run

    try:
        with keras_at_work(backend, quiet or not first) as progress:
            from ceneurovae.progress import FitProgress
            from ceneurovae.recipe import BATCH_SIZE

            callbacks: list[Any] = [FitProgress(progress, batch_size or BATCH_SIZE)]
            if tensorboard and first:
                from ceneurovae.tensorboard import TensorBoard

                callbacks.append(TensorBoard(run / "tensorboard"))
            yield callbacks
    except KeyboardInterrupt as interrupt:
        go_on = f" To go on: ceneurovae train --resume {run}" if is_run(run) else ""
        console.say(str(interrupt) or f"Interrupted.{go_on}")
        raise typer.Exit(128 + getattr(interrupt, "number", 2)) from None
