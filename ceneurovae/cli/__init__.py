"""The command line: parses, calls the library, prints.

A command is a function in the module that is named for what it does; heavy imports are inside it.
"""

import sys
import warnings
from typing import Any

import typer

from ceneurovae.cli.evaluation import evaluate, report
from ceneurovae.cli.inspection import inspect, runs
from ceneurovae.cli.simulation import demo
from ceneurovae.cli.training import train
from ceneurovae.cli.tuning import tune_command
from ceneurovae.cli.whole_files import encode, export, impute, reconstruct

app = typer.Typer(
    help="Variational autoencoders of neural activity and behaviour, from HDF5 to latents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    *(demo, inspect, train, tune_command(train), evaluate, runs),
    *(encode, impute, reconstruct, export, report),
):
    app.command()(command)


def main() -> None:
    """Runs the command line: errors are one line on stderr and exit status 2."""
    try:
        _run()
    except SystemExit as end:
        from ceneurovae.machines import leave

        leave(end.code if isinstance(end.code, int) else 0)
        raise


def _run() -> None:
    warnings.showwarning = _show_warning
    try:
        app()
    except (ValueError, OSError, FloatingPointError, ImportError, MemoryError) as error:
        message = " ".join(str(error).split())
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(2)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"Warning: {message}", file=sys.stderr)
