"""`ceneurovae demo`."""

from pathlib import Path
from typing import Annotated

from ceneurovae.cli.options import Backend, Overwrite, Quiet, option
from ceneurovae.cli.progress import training_at_work


def demo(
    out: Annotated[Path, option("Folder for the simulated file and the run.")] = Path("runs/demo"),
    seed: Annotated[int, option("Decides the worm, the order and the weights.")] = 0,
    backend: Backend = None,
    quiet: Quiet = False,
    overwrite: Overwrite = False,
) -> None:
    """Simulate worms with known latents, train on them, and check the result."""
    from ceneurovae.console import say
    from ceneurovae.evaluation_table import show_evaluation
    from ceneurovae.run_folder import check_free

    check_free(out, overwrite)
    with training_at_work(out, backend, quiet, None) as callbacks:
        from ceneurovae.demo import run_demo

        evaluation = run_demo(out, seed, overwrite, callbacks)
    show_evaluation(evaluation)
    if not quiet:
        say(f"Run folder: {out}")
