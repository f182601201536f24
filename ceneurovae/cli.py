"""The command line: parses, calls the library, prints. Heavy imports are inside the commands."""

import json
import sys
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ceneurovae.cli_data import probed, read_data
from ceneurovae.cli_tune import add_tune

if TYPE_CHECKING:
    from ceneurovae.hints import JSON
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.splits import Splits
    from ceneurovae.windows import Windows

app = typer.Typer(
    help="Variational autoencoders of neural activity and behaviour, from HDF5 to latents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Files = Annotated[
    list[Path],
    typer.Argument(help="Files, folders, or patterns such as 'data/*.h5'.", show_default=False),
]
RunPath = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Backend = Annotated[
    str | None,
    typer.Option(help="jax, tensorflow or torch.", show_default="KERAS_BACKEND, or the fastest"),
]


def _option(text: str, **settings: Any) -> Any:
    return typer.Option(help=text, **settings)


Layout = Annotated[
    str | None,
    _option("Layout of the files.", show_default="the first that fits"),
]
Transpose = Annotated[bool, _option("The axes of time and channels are the other way round.")]
MinLikelihood = Annotated[float, _option("Points of a pose less likely than this are missing.")]
AllowExternal = Annotated[bool, _option("Let a file fetch data from other files.")]
MemoryGB = Annotated[
    float | None,
    _option("What may be held in memory; the rest is streamed.", show_default="a quarter of it"),
]
Out = Annotated[Path, _option("HDF5 file to write.", show_default=False)]
BatchSize = Annotated[int, _option("Windows at a time.")]
TraceStride = Annotated[
    int | None,
    _option("Samples from one window's start to the next.", show_default="a quarter of a window"),
]


REFINE = "Steps in which latents are refined on the decoder."
Refine = Annotated[int | None, _option(REFINE, show_default="as chosen in training")]
RefineTen = Annotated[int | None, _option(REFINE, show_default="10")]


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the contents of `--config` the defaults of the command's other options."""
    if path is None:
        return None
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    try:
        text = path.read_text()
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"'{path}' is neither TOML nor JSON: {error}.") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"'{path}' holds a {kind}, expected names and values of options.")
    known = {parameter.name for parameter in context.command.params} - {"config", "files"}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(
            f"'{path}' sets {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    if isinstance(content.get("channels"), list):
        content["channels"] = ",".join(content["channels"])
    context.default_map = content
    return path


@app.command()
def demo(
    out: Annotated[Path, _option("Folder for the simulated file and the run.")] = Path("runs/demo"),
    seed: Annotated[int, _option("Decides the worm, the order and the weights.")] = 0,
    backend: Backend = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate worms with known latents, train on them, and check the result."""
    from ceneurovae import console
    from ceneurovae.evaluation_table import show_evaluation
    from ceneurovae.run_folder import check_free

    check_free(out, overwrite)
    from ceneurovae.tracking import showing

    console.choose_backend(backend)
    with console.progress_bar() as progress, showing(console.tracker(progress)):
        console.import_keras(progress)
        from ceneurovae import demo as simulated
        from ceneurovae.progress import FitProgress

        callbacks = [FitProgress(progress, simulated.BATCH_SIZE)]
        evaluation = simulated.run_demo(out, seed, overwrite, callbacks)
    show_evaluation(evaluation)
    console.say(f"Run folder: {out}")


@app.command()
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
    report = _inspected([path for path in paths if path not in runs], options)
    if runs:
        from ceneurovae.verification import verify_run

        report["runs"] = [verify_run(path) for path in runs]
    if as_json:
        _print_json(report)
    else:
        from ceneurovae.console import show_inspection

        show_inspection(report)
    _refuse_leaks(report)


def _inspected(paths: Sequence[Path], options: "ReadOptions") -> "JSON":
    """What `inspect_file` says of each file, and commands for all."""
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


@app.command()
def train(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, folders, or patterns such as 'data/*.h5'.", show_default=False),
    ] = None,
    out: Annotated[Path | None, _option("Run folder to write.", show_default=False)] = None,
    resume: Annotated[
        Path | None,
        _option(
            "Run folder of a training to go on with, with its files and settings.",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        str | None,
        _option("Names of channels or whole datasets, with commas between; globs work."),
    ] = None,
    seq_len: Annotated[
        int | None, _option("Window length in samples.", show_default="as in the file, or 100")
    ] = None,
    stride: Annotated[int, _option("Samples from one window's start to the next.")] = 1,
    valid_fraction: Annotated[float, _option("Share of the time for validation.")] = 0.12,
    test_fraction: Annotated[float, _option("Share of the time, its end, for test.")] = 0.2,
    gap: Annotated[
        int | None, _option("Samples between the splits.", show_default="one window")
    ] = None,
    by: Annotated[
        str | None,
        _option(
            "Split by time, by recording, or by a label such as animal.",
            show_default="the file's own split, or time",
        ),
    ] = None,
    short: Annotated[
        str, _option("Recordings shorter than a window: error, drop, or pad with missing values.")
    ] = "error",
    align: Annotated[
        str, _option("Recordings with different channels: error, union or intersection.")
    ] = "error",
    resample_hz: Annotated[
        float | None, _option("Rate to resample to.", show_default="as recorded")
    ] = None,
    memory_gb: MemoryGB = None,
    layout: Layout = None,
    transpose: Transpose = False,
    min_likelihood: MinLikelihood = 0.9,
    allow_external: AllowExternal = False,
    batch_size: Annotated[int | None, _option("Windows in a batch.", show_default="64")] = None,
    seed: Annotated[int, _option("Decides the order and the weights.")] = 0,
    latent_dim: Annotated[int, _option("Number of latents.")] = 32,
    hidden_dim: Annotated[int, _option("Width of the hidden layers.")] = 256,
    num_layers: Annotated[int, _option("Hidden layers of encoder and decoder each.")] = 3,
    dropout: Annotated[float, _option("Share of hidden units dropped in training.")] = 0.05,
    backbone: Annotated[str, _option("mlp, conv, gru, lstm, transformer or linear.")] = "mlp",
    num_heads: Annotated[int, _option("Attention heads of the transformer.")] = 4,
    positional_encoding: Annotated[str, _option("sinusoidal or learned.")] = "sinusoidal",
    reconstruction_loss: Annotated[
        str, _option("gaussian, mse or huber; poisson for counts, bernoulli for zeros and ones.")
    ] = "gaussian",
    noise: Annotated[str, _option("Noise level of gaussian: shared, or one a channel.")] = "shared",
    huber_delta: Annotated[float, _option("Error at which huber becomes linear.")] = 1.0,
    reduction: Annotated[str, _option("sum or mean of the loss over a window.")] = "sum",
    scale: Annotated[
        str, _option("What channels are divided by: deviation of channel, group, or none.")
    ] = "channel",
    free_bits: Annotated[float, _option("Nats of KL that each latent has for nothing.")] = 0.0,
    capacity: Annotated[float, _option("Nats of KL that training aims at.")] = 0.0,
    augment: Annotated[bool, _option("Stretch and scale training windows at random.")] = True,
    encoder_steps: Annotated[int, _option("Steps on the decoder in encoding.")] = 2,
    hide: Annotated[
        str | None,
        _option("Hidden in training, with commas: entries, spans, channels, groups, end."),
    ] = None,
    hide_share: Annotated[float, _option("Share of a window that is hidden.")] = 0.2,
    epochs: Annotated[
        int | None,
        _option("Times through the training data.", show_default="as many as make 1500 steps"),
    ] = None,
    lr: Annotated[float, _option("Highest learning rate of AdamW.")] = 2e-3,
    kl_schedule: Annotated[str, _option("linear, step, cyclical or sigmoid.")] = "linear",
    warmup_epochs: Annotated[
        int | None,
        _option("Length of the ramp of the KL weight.", show_default="a tenth of the epochs"),
    ] = None,
    kl_weight: Annotated[float, _option("KL weight at the end of the ramp.")] = 1.0,
    patience: Annotated[
        int | None, _option("Epochs without progress before it stops.", show_default="no limit")
    ] = None,
    refit: Annotated[
        bool,
        _option("Train once more on training and validation data, with every choice fixed."),
    ] = True,
    retries: Annotated[
        int, _option("Times to go on with half the learning rate when the loss explodes.")
    ] = 0,
    jit_compile: Annotated[
        bool | None,
        _option("Compile the training step with XLA.", show_default="where that is faster"),
    ] = None,
    mixed_precision: Annotated[
        bool,
        typer.Option("--mixed-precision", help="Compute the networks in bfloat16 in training."),
    ] = False,
    distribute: Annotated[
        str | None,
        _option(
            "auto: share the fit between all devices of the machine, or of all machines that the "
            "KERAS_DISTRIBUTION variables name.",
            show_default="one",
        ),
    ] = None,
    backend: Backend = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves to RUN/tensorboard.")
    ] = False,
    overwrite: Overwrite = False,
    config: Annotated[
        Path | None,
        _option(
            "JSON or TOML file with any of these options.", callback=_read_config, is_eager=True
        ),
    ] = None,
) -> None:
    """Train a model on recordings and evaluate it on held-out data."""
    given = dict(locals())
    from ceneurovae import console
    from ceneurovae.evaluation_table import show_evaluation
    from ceneurovae.machines import place

    first = place(distribute).first  # of several processes, the one that writes and tells
    if resume is not None:
        from ceneurovae.run_folder import RunFolder

        _refuse_beside_resume(context)
        run = RunFolder(resume)
        backend = backend or run.environment["backend"]
        batch_size = run.training["batch_size"]
        with _training(resume, backend, quiet, batch_size, tensorboard, first) as callbacks:
            from ceneurovae.runs import resume_run

            evaluation = resume_run(resume, retries, callbacks, 0, distribute)
        if evaluation is not None:
            show_evaluation(evaluation)
        return
    if not files or out is None:
        missing = "--out" if files else "FILES"
        raise ValueError(f"{missing} is missing: ceneurovae train FILES --out FOLDER")
    from ceneurovae.run_folder import check_free

    if first:
        check_free(out, overwrite)
    splits, model_config = read_data(given)
    with _training(out, backend, quiet, batch_size, tensorboard, first) as callbacks:
        from ceneurovae.runs import train_run

        evaluation = train_run(
            splits,
            model_config,
            out,
            seed,
            batch_size,
            epochs=epochs,
            lr=lr,
            kl_schedule=kl_schedule,
            warmup_epochs=warmup_epochs,
            kl_weight=kl_weight,
            patience=patience,
            refit=refit and len(splits.valid) > 0,
            overwrite=overwrite,
            retries=retries,
            jit_compile=jit_compile,
            mixed_precision=mixed_precision,
            distribute=distribute,
            callbacks=callbacks,
            verbose=0,
        )
    if evaluation is not None:
        show_evaluation(evaluation)
        console.say(f"Run folder: {out}")


add_tune(app, train)


def _refuse_beside_resume(context: typer.Context) -> None:
    """Raises a `ValueError` for options that a resumed run has by itself."""
    own = {"resume", "backend", "quiet", "retries", "tensorboard", "distribute"}
    given = [
        parameter.opts[0] if parameter.opts[0].startswith("-") else "FILES"
        for parameter in context.command.params
        if parameter.name not in own
        and (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name not in ("DEFAULT", "DEFAULT_MAP")
        and context.params.get(parameter.name) not in (None, [], ())
    ]
    if given:
        raise ValueError(
            f"A run is resumed with the files and settings it has: leave out {', '.join(given)}."
        )


@contextmanager
def _training(
    run: Path,
    backend: str | None,
    quiet: bool,
    batch_size: int | None,
    tensorboard: bool,
    first: bool,
) -> Iterator[list[Any]]:
    """A context for training into a run folder, with the callbacks that show its progress.

    It is shown by the `first` process alone.
    """
    from ceneurovae import console
    from ceneurovae.run_folder import is_run
    from ceneurovae.tracking import showing

    console.choose_backend(backend)
    try:
        quiet = quiet or not first
        with console.progress_bar(quiet) as progress, showing(console.tracker(progress)):
            console.import_keras(progress)
            from ceneurovae.progress import FitProgress
            from ceneurovae.recipe import BATCH_SIZE

            callbacks = [FitProgress(progress, batch_size or BATCH_SIZE)]
            if tensorboard and first:
                from ceneurovae.tensorboard import TensorBoard

                callbacks.append(TensorBoard(run / "tensorboard"))
            yield callbacks
    except KeyboardInterrupt as interrupt:
        go_on = f" To go on: ceneurovae train --resume {run}" if is_run(run) else ""
        console.say(str(interrupt) or f"Interrupted.{go_on}")
        raise typer.Exit(128 + getattr(interrupt, "number", 2)) from None


@app.command()
def evaluate(
    run: RunPath,
    as_json: AsJSON = False,
    refine: RefineTen = None,
    null: Annotated[
        int, _option("Refits on data whose channels were shifted against each other.", min=0)
    ] = 0,
    decode: Annotated[
        list[str] | None,
        _option("Labels to read from the latents: channels or labels of the files."),
    ] = None,
    seeds: Annotated[
        int, _option("Refits with other seeds, to see how well they agree.", min=0)
    ] = 0,
    backend: Backend = None,
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
    with _keras_at_work(backend):
        from ceneurovae.evaluation import evaluate_run

        evaluation = evaluate_run(run, splits, refine=refine)
        controls = _controls(run, splits, null, labels, seeds)
    if as_json:
        _print_json(evaluation.to_json() | controls)
    else:
        show_evaluation(evaluation)
        for table in control_tables(controls):
            _print(table)


def _labels(
    splits: "Splits", decode: Sequence[str] | None, further: Sequence[str] | None
) -> list[Any]:
    """The labels that `--decode A B` and `--decode A,B` name, read before anything is computed."""
    if further and not decode:
        raise ValueError(f"There is a run too many: {', '.join(further)}. Evaluate one at a time.")
    from ceneurovae.labels import read_labels

    names = [name for given in [*(decode or ()), *(further or ())] for name in given.split(",")]
    return read_labels(splits, names)


def _controls(run: Path, splits: "Splits", null: int, labels: Sequence[Any], seeds: int) -> "JSON":
    """What the checks that were asked for found, by the names of their files."""
    found = {}
    if labels:
        from ceneurovae.decoding import decode_labels

        found["decoding"] = decode_labels(run, labels, splits)
    if null:
        from ceneurovae.null_control import null_control

        found["null"] = null_control(run, null, splits)
    if seeds:
        from ceneurovae.seed_agreement import seed_agreement

        found["seeds"] = seed_agreement(run, seeds, splits)
    return found


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders.")] = Path("runs"),
    as_json: AsJSON = False,
) -> None:
    """Compare the runs in a folder."""
    from ceneurovae import console
    from ceneurovae.comparison import compare_runs

    found = compare_runs(folder)
    if as_json:
        _print_json(found)
    else:
        _print(console.runs_table(found))


@app.command()
def encode(
    run: RunPath,
    files: Files,
    out: Out,
    memory_gb: Annotated[
        float | None,
        _option("What may be held in memory; the rest is streamed.", show_default="0.25"),
    ] = None,
    stride: Annotated[int, _option("Samples from one window's start to the next.")] = 1,
    batch_size: BatchSize = 256,
    refine: Refine = None,
    backend: Backend = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the latents of every window of recordings."""
    from ceneurovae.encoding import encode_windows, read_windows
    from ceneurovae.readers.options import ReadOptions

    files = probed(files, ReadOptions())
    windows = read_windows(run, files, out, stride, overwrite, memory_gb, refine)
    with _keras_at_work(backend):
        encode_windows(run, windows, out, batch_size, refine)
    _say_written(windows, out)


@app.command()
def impute(
    run: RunPath,
    files: Files,
    out: Out,
    memory_gb: MemoryGB = None,
    stride: TraceStride = None,
    batch_size: BatchSize = 256,
    refine: RefineTen = None,
    num_samples: Annotated[
        int | None,
        _option("Draws from which to write 5 % and 95 % quantiles too.", show_default="none"),
    ] = None,
    seed: Annotated[int, _option("Decides the draws.")] = 0,
    backend: Backend = None,
    overwrite: Overwrite = False,
) -> None:
    """Write whole recordings with what is missing filled in."""
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.traces import impute_traces, read_traces

    files = probed(files, ReadOptions())
    recordings, windows = read_traces(
        run, files, out, stride, overwrite, memory_gb, refine, num_samples
    )
    with _keras_at_work(backend):
        impute_traces(run, recordings, windows, out, batch_size, refine, num_samples, seed)
    _say_written(windows, out)


@app.command()
def reconstruct(
    run: RunPath,
    files: Files,
    out: Out,
    memory_gb: MemoryGB = None,
    stride: TraceStride = None,
    batch_size: BatchSize = 256,
    refine: Refine = None,
    num_samples: Annotated[
        int, _option("Draws for the uncertainty of the traces; 0 leaves it out.")
    ] = 16,
    seed: Annotated[int, _option("Decides the draws.")] = 0,
    backend: Backend = None,
    overwrite: Overwrite = False,
) -> None:
    """Write whole recordings as the model decodes them from their latents."""
    from ceneurovae.console import say
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.traces import read_traces, reconstruct_traces

    files = probed(files, ReadOptions())
    recordings, windows = read_traces(
        run, files, out, stride, overwrite, memory_gb, refine, num_samples or None
    )
    with _keras_at_work(backend):
        found = reconstruct_traces(
            run, recordings, windows, out, batch_size, refine, num_samples, seed
        )
    _say_written(windows, out)
    if found["seams"]:
        say(
            f"Seam error: {found['seam_error']:.3f} standard deviations of a channel (root mean "
            f"square over {found['seams']} places where one window takes over from another)"
        )


@app.command()
def export(
    run: RunPath,
    out: Annotated[Path, _option("Folder to write.", show_default=False)],
    format: Annotated[str, _option("savedmodel or onnx.")] = "savedmodel",
    overwrite: Overwrite = False,
) -> None:
    """Write the model for TensorFlow alone, or for ONNX Runtime."""
    from ceneurovae.console import say
    from ceneurovae.export import check_free, export_run, require_format
    from ceneurovae.run_folder import RunFolder
    from ceneurovae.tracking import working

    require_format(format)
    check_free(out, overwrite)
    RunFolder(run)
    # Under which the model is exported in any case.
    with _keras_at_work("tensorflow"), working("Exporting"):
        export_run(run, out, format, overwrite)
    say(f"Exported as {format} to {out}")


@app.command()
def report(
    run: RunPath,
    out: Annotated[
        Path | None, _option("HTML file to write.", show_default="RUN/report.html")
    ] = None,
    figures: Annotated[
        Path | None, _option("Folder for each plot as SVG and PNG.", show_default="none")
    ] = None,
    backend: Backend = None,
) -> None:
    """Write one HTML page with all about a run: data, training, scores, latents, controls."""
    from ceneurovae.console import say
    from ceneurovae.import_data import reload_splits
    from ceneurovae.run_folder import RunFolder

    splits = reload_splits(RunFolder(run).manifest)
    with _keras_at_work(backend):
        from ceneurovae.report import write_report

        out = write_report(run, out, figures, splits)
    say(f"Report: {out}")
    if figures is not None:
        say(f"Figures: {figures}")


@contextmanager
def _keras_at_work(backend: str | None) -> Iterator[None]:
    """A context in which Keras is there, on a backend, and a bar says what is done."""
    from ceneurovae import console
    from ceneurovae.tracking import showing

    console.choose_backend(backend)
    with console.progress_bar() as progress, showing(console.tracker(progress)):
        console.import_keras(progress)
        yield


def _say_written(windows: "Windows", out: Path) -> None:
    from ceneurovae.console import say

    say(f"{len(windows)} windows of {len(windows.recordings)} recordings in {out}")


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


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))
