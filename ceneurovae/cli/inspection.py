"""`ceneurovae inspect` and `ceneurovae runs`: what files hold, and what runs came to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ceneurovae.cli.data import probed
from ceneurovae.cli.options import AllowExternal, AsJSON, Layout, MinLikelihood, Transpose
from ceneurovae.cli.output import print_json, print_table

if TYPE_CHECKING:
    from ceneurovae.hints import JSON
    from ceneurovae.readers.options import ReadOptions


def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files, folders, patterns, or run folders.", show_default=False),
    ],
    as_json: AsJSON = False,
    layout: Layout = None,
    transpose: Transpose = False,
    min_likelihood: MinLikelihood = 0.9,
    allow_external: AllowExternal = False,
) -> None:
    """Tell what is in files and what is wrong with it; of runs, whether their splits hold."""
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.run_folder import is_run

    options = ReadOptions(layout, transpose, min_likelihood, allow_external)
    runs = [path for path in paths if is_run(path)]
    report = inspected([path for path in paths if path not in runs], options)
    if runs:
        from ceneurovae.verification import verify_run

        report["runs"] = [verify_run(path) for path in runs]
    if as_json:
        print_json(report)
    else:
        from ceneurovae.console import show_inspection

        show_inspection(report)
    _refuse_leaks(report)


def inspected(paths: Sequence[Path], options: "ReadOptions") -> "JSON":
    """What `inspect_file` says of each file, and commands for all.

    Args:
        paths: Files, folders and patterns.
        options: How they are read.
    """
    if not paths:
        return {"files": []}
    from ceneurovae.inspection import inspect_file
    from ceneurovae.suggestion import suggest_commands

    files = [inspect_file(path, options) for path in probed(paths, options)]
    if len(files) == 1:
        train, evaluate = files[0]["suggestion"], files[0]["evaluation"]
    else:
        train, evaluate = suggest_commands(paths, files) or (None, None)
    return {"files": files, "suggestion": train, "evaluation": evaluate}


def _refuse_leaks(report: "JSON") -> None:
    """Raises a `ValueError` if a run's splits share data."""
    if "runs" not in report:
        return
    from ceneurovae.verification import leak_in

    for run in report["runs"]:
        if leak_in(run):
            raise ValueError(f"The splits of '{run['path']}' leak: {leak_in(run)}.")


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders.")] = Path("runs"),
    as_json: AsJSON = False,
) -> None:
    """Compare the runs in a folder."""
    from ceneurovae.comparison import compare_runs
    from ceneurovae.console import runs_table

    found = compare_runs(folder)
    if as_json:
        print_json(found)
    else:
        print_table(runs_table(found))
