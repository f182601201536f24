"""Commands that use a run: `encode`, `impute` and `reconstruct` whole files, and `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ceneurovae.cli.data import probed
from ceneurovae.cli.options import (
    Backend,
    BatchSize,
    Files,
    MemoryGB,
    MemoryGBQuarter,
    Out,
    Overwrite,
    Quiet,
    Refine,
    RefineTen,
    RunPath,
    Stride,
    TraceStride,
    option,
)
from ceneurovae.cli.progress import keras_at_work

if TYPE_CHECKING:
    from ceneurovae.windows import Windows


def encode(
    run: RunPath,
    files: Files,
    out: Out,
    memory_gb: MemoryGBQuarter = None,
    stride: Stride = 1,
    batch_size: BatchSize = 256,
    refine: Refine = None,
    backend: Backend = None,
    quiet: Quiet = False,
    overwrite: Overwrite = False,
) -> None:
    """Write the latents of every window of recordings."""
    from ceneurovae.encoding import encode_windows, read_windows
    from ceneurovae.readers.options import ReadOptions

    files = probed(files, ReadOptions())
    windows = read_windows(run, files, out, stride, overwrite, memory_gb, refine)
    with keras_at_work(backend, quiet):
        encode_windows(run, windows, out, batch_size, refine)
    if not quiet:
        _say_written(windows, out)


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
        option("Draws from which to write 5 % and 95 % quantiles too.", show_default="none"),
    ] = None,
    seed: Annotated[int, option("Decides the draws.")] = 0,
    backend: Backend = None,
    quiet: Quiet = False,
    overwrite: Overwrite = False,
) -> None:
    """Write whole recordings with what is missing filled in."""
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.traces import impute_traces, read_traces

    files = probed(files, ReadOptions())
    recordings, windows = read_traces(
        run, files, out, stride, overwrite, memory_gb, refine, num_samples
    )
    with keras_at_work(backend, quiet):
        impute_traces(run, recordings, windows, out, batch_size, refine, num_samples, seed)
    if not quiet:
        _say_written(windows, out)


def reconstruct(
    run: RunPath,
    files: Files,
    out: Out,
    memory_gb: MemoryGB = None,
    stride: TraceStride = None,
    batch_size: BatchSize = 256,
    refine: Refine = None,
    num_samples: Annotated[
        int, option("Draws for the uncertainty of the traces; 0 leaves it out.")
    ] = 16,
    seed: Annotated[int, option("Decides the draws.")] = 0,
    backend: Backend = None,
    quiet: Quiet = False,
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
    with keras_at_work(backend, quiet):
        found = reconstruct_traces(
            run, recordings, windows, out, batch_size, refine, num_samples, seed
        )
    if not quiet:
        _say_written(windows, out)
    if found["seams"] and not quiet:
        say(
            f"Seam error: {found['seam_error']:.3f} standard deviations of a channel (root mean "
            f"square over {found['seams']} places where one window takes over from another)"
        )


def export(
    run: RunPath,
    out: Annotated[Path, option("Folder to write.", show_default=False)],
    format: Annotated[str, option("savedmodel or onnx.")] = "savedmodel",
    quiet: Quiet = False,
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
    with keras_at_work("tensorflow", quiet), working("Exporting"):
        export_run(run, out, format, overwrite)
    if not quiet:
        say(f"Exported as {format} to {out}")


def _say_written(windows: "Windows", out: Path) -> None:
    from ceneurovae.console import counted, say

    recordings = counted(len(windows.recordings), "recording")
    say(f"{counted(len(windows), 'window')} of {recordings} in {out}")
