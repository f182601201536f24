"""`ceneurovae evaluate` and `ceneurovae report`: how good a run is, and whether to believe it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ceneurovae.cli.data import names_in
from ceneurovae.cli.options import AsJSON, Backend, Quiet, RefineTen, RunPath, option
from ceneurovae.cli.output import print_json, print_table
from ceneurovae.cli.progress import keras_at_work

if TYPE_CHECKING:
    from ceneurovae.hints import JSON
    from ceneurovae.splits import Splits


def evaluate(
    run: RunPath,
    as_json: AsJSON = False,
    refine: RefineTen = None,
    null: Annotated[
        int, option("Refits on data whose channels were shifted against each other.", min=0)
    ] = 0,
    decode: Annotated[
        list[str] | None,
        option("Labels to read from the latents: channels or labels of the files."),
    ] = None,
    seeds: Annotated[
        int, option("Refits with other seeds, to see how well they agree.", min=0)
    ] = 0,
    backend: Backend = None,
    quiet: Quiet = False,
    further: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Score a run on the time it set aside for test, beside PCA, and say what is wrong."""
    from ceneurovae.controls_table import control_tables
    from ceneurovae.evaluation_table import show_evaluation
    from ceneurovae.import_data import reload_splits
    from ceneurovae.run_folder import RunFolder

    RunFolder(run).refine_steps(refine)
    splits = reload_splits(RunFolder(run).manifest)
    labels = _labels(splits, decode, further)
    with keras_at_work(backend, quiet):
        from ceneurovae.evaluation import evaluate_run

        evaluation = evaluate_run(run, splits, refine=refine)
        controls = _controls(run, splits, null, labels, seeds)
    if as_json:
        print_json(evaluation.to_json() | controls)
    else:
        show_evaluation(evaluation)
        for table in control_tables(controls):
            print_table(table)


def _labels(
    splits: "Splits", decode: Sequence[str] | None, further: Sequence[str] | None
) -> list[Any]:
    """The labels that `--decode A B` and `--decode A,B` name, read before anything is computed."""
    if further and not decode:
        raise ValueError(f"There is a run too many: {', '.join(further)}. Evaluate one at a time.")
    from ceneurovae.labels import read_labels

    names = [name for given in [*(decode or ()), *(further or ())] for name in names_in(given)]
    return read_labels(splits, names)


def _controls(run: Path, splits: "Splits", null: int, labels: Sequence[Any], seeds: int) -> "JSON":
    """What the checks that were asked for found, by the names of their files."""
    found = {}
    if labels:
        from ceneurovae.decoding import decode_labels

        found["decoding"] = decode_labels(run, labels, splits)
    if null:
        from ceneurovae.null_models import null_control

        found["null"] = null_control(run, null, splits)
    if seeds:
        from ceneurovae.reproducibility import seed_agreement

        found["seeds"] = seed_agreement(run, seeds, splits)
    return found


def report(
    run: RunPath,
    out: Annotated[
        Path | None, option("HTML file to write.", show_default="RUN/report.html")
    ] = None,
    figures: Annotated[
        Path | None, option("Folder for each plot as SVG and PNG.", show_default="none")
    ] = None,
    backend: Backend = None,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page with all about a run: data, training, scores, latents, controls."""
    from ceneurovae.console import say
    from ceneurovae.import_data import reload_splits
    from ceneurovae.run_folder import RunFolder

    splits = reload_splits(RunFolder(run).manifest)
    with keras_at_work(backend, quiet):
        from ceneurovae.report import write_report

        out = write_report(run, out, figures, splits)
    if quiet:
        return
    say(f"Report: {out}")
    if figures is not None:
        say(f"Figures: {figures}")
