"""Whole recordings out of windows, in a file: without holes, or as the model sees them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ceneurovae.encoding import group_of, read_whole
from ceneurovae.hints import JSON, Array, PathLike, Paths
from ceneurovae.recording import Recording
from ceneurovae.run_folder import RunFolder
from ceneurovae.short import own_samples
from ceneurovae.stitching import Overlap, is_count, stitched
from ceneurovae.whole_file import whole_file
from ceneurovae.windows import Windows, covering_runs, require_window

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE
    from ceneurovae.model.vae import Posterior

QUANTILES = (0.05, 0.95)
# Draws of the latents from which the uncertainty of a reconstruction is taken.
DRAWS = 16
# Values of draws that are held in memory, 256 MiB.
DRAWN_AT_ONCE = 1 << 26
# Names that fit into an attribute of HDF5; more of them become a dataset.
MOST_NAMES = 4000


def impute_file(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    stride: int | None = None,
    batch_size: int = 256,
    overwrite: bool = False,
    memory_gb: float | None = None,
    refine: int | None = None,
    num_samples: int | None = None,
    seed: int = 0,
) -> None:
    """Fills in what is missing (NaN) in recordings, with the model of a run.

    Writes one group per recording, named as it is and of its length, with `values` `(n, C)`,
    float32 in raw units, whose attribute `channel_names` names the channels (a dataset beside it
    where there are more than 4000); `observed` `(n, C)`, boolean; `breaks`, the samples at which a
    new uninterrupted stretch begins, where there are any; and the attributes `path` and, where it
    is known, `sampling_rate` in Hz. `read_recordings` and `ceneurovae inspect` read the file.

    What was observed is as it was read. What is missing is the mean over the windows that it is in;
    it stays missing in stretches that are shorter than a window, unless the model was trained on
    recordings that were filled up (`short="pad"`): then such stretches are filled up for the model,
    and cut to their own length again.

    Args:
        run: Run folder.
        paths: One or several files with the channels the model was trained on.
        out: HDF5 file to write.
        stride: Samples from the start of one window to the start of the next, at most the length
            of a window; a quarter of it by default. The last window of a stretch is flush with its
            end.
        batch_size: Windows at a time, at most; fewer where they are large.
        overwrite: Whether to replace `out`.
        memory_gb: How much of the recordings may be held in memory; a quarter of it by default.
        refine: Steps in which the latents are improved on the decoder; by default `REFINE`, with
            which the model learned what its decoder leaves out.
        num_samples: With the Gaussian likelihood: how many draws to make of every window, for
            `low` and `high` `(n, C)` beside the values: the 5 % and 95 % quantiles of its draws,
            averaged over the windows as the values are. Where a value was observed, both are it.
        seed: Decides the draws.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    whole = read_traces(run, paths, out, stride, overwrite, memory_gb, refine, num_samples)
    impute_traces(run, *whole, out, batch_size, refine, num_samples, seed)


def reconstruct_file(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    stride: int | None = None,
    batch_size: int = 256,
    overwrite: bool = False,
    memory_gb: float | None = None,
    refine: int | None = None,
    num_samples: int = DRAWS,
    seed: int = 0,
) -> JSON:
    """Reconstructs recordings with the model of a run: decoded from the means of its posterior.

    Writes what `impute_file` does, without `observed`, and beside `values`:

    - `deviation` `(n, C)`, float32, raw units: how uncertain each value is, as the root of the mean
      squared distance from it of what windows say that the sample is in, weighted as their mean,
      each decoded from draws of its posterior. The noise about the trace is not part of it.
    - `seam_error` `(C,)`, where windows overlap: how far a window and the next one are apart in the
      middle of what they have in common, where the trace goes over from one to the other, as root
      mean square over these seams, in standard deviations of what was recorded of the channel (NaN
      where it does not vary). Its root mean square over channels is the attribute `seam_error` of
      the recording, beside the number of `seams`.

    A sample is NaN where its stretch is shorter than a window and the model was not trained on
    recordings that were filled up.

    Args:
        run, paths, out, stride, batch_size, overwrite, memory_gb: As for `impute_file`.
        refine: Steps in which the latents are improved on the decoder; by default those that the
            run's `choices.json` names, 0 where it names none.
        num_samples: Draws of the latents of every window for `deviation`; 0 leaves it out.
        seed: Decides the draws.

    Returns:
        Dictionary of `seams`, their number, and `seam_error`, over all channels and recordings,
        `None` where no windows overlap.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    samples = num_samples or None
    whole = read_traces(run, paths, out, stride, overwrite, memory_gb, refine, samples)
    return reconstruct_traces(run, *whole, out, batch_size, refine, num_samples, seed)


def read_traces(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    stride: int | None = None,
    overwrite: bool = False,
    memory_gb: float | None = None,
    refine: int | None = None,
    num_samples: int | None = None,
) -> tuple[list[Recording], Windows]:
    """The half that can fail on the user's files and arguments, and needs no TensorFlow.

    Returns:
        `(recordings, windows)`: the recordings as they are, and `Windows` that cover them, filled
        up where those of the run were.
    """
    RunFolder(run).refine_steps(refine)
    if num_samples is not None and not is_count(num_samples):
        raise ValueError(
            f"num_samples is {num_samples!r}, expected a whole number of at least 1, or None."
        )
    recordings, filled, seq_len = read_whole(run, paths, out, overwrite, memory_gb)
    stride = max(1, seq_len // 4) if stride is None else stride
    runs = []
    for recording in filled:
        require_window(recording, seq_len)
        runs.append(covering_runs(recording, seq_len, stride))
    return recordings, Windows.from_runs(filled, seq_len, runs)


def impute_traces(
    run: PathLike,
    recordings: Sequence[Recording],
    windows: Windows,
    out: PathLike,
    batch_size: int = 256,
    refine: int | None = None,
    num_samples: int | None = None,
    seed: int = 0,
) -> None:
    """The other half of `impute_file`: fills in what is missing and writes `out`."""
    from ceneurovae.model.refine import REFINE

    refine = REFINE if refine is None else refine
    model = RunFolder(run).load_model()
    names = ["values"]
    if num_samples is not None:
        names += ["low", "high"]
        window = windows.seq_len * len(windows.channels)
        batch_size = min(batch_size, max(1, DRAWN_AT_ONCE // (window * num_samples)))

    def predict(x: Array, first: int) -> list[Array]:
        mean, *draws = model.imputations(x, num_samples or 0, refine=refine, seed=seed + first)
        return [mean, *np.quantile(draws, QUANTILES, axis=0)] if draws else [mean]

    def write(group: h5py.Group, recording: Recording, overlap: Overlap, own: Any) -> None:
        values = recording.values[:]
        observed = ~np.isnan(values)
        for name, mean in zip(names, overlap.means(), strict=True):
            group[name] = np.where(observed, values, mean[own])
        group["observed"] = observed

    _write_traces(out, recordings, windows, predict, write, batch_size)


def reconstruct_traces(
    run: PathLike,
    recordings: Sequence[Recording],
    windows: Windows,
    out: PathLike,
    batch_size: int = 256,
    refine: int | None = None,
    num_samples: int = DRAWS,
    seed: int = 0,
) -> JSON:
    """The other half of `reconstruct_file`: reconstructs and writes `out`."""
    run = RunFolder(run)
    refine = run.refine_steps(refine)
    model = run.load_model()
    found = []

    def predict(x: Array, first: int) -> list[Array]:
        posterior = model.encode(x, None, refine)
        mean = model.decode(posterior.mu, len(x))
        if not num_samples:
            return [mean]
        return [mean, _decoded_variance(model, posterior, mean, num_samples, seed + first)]

    def write(group: h5py.Group, recording: Recording, overlap: Overlap, own: Any) -> None:
        values, *variance = overlap.means()
        group["values"] = values[own]
        if num_samples:
            deviation = np.sqrt(overlap.variance() + variance[0])
            group["deviation"] = deviation[own].astype("float32")
        errors = overlap.seam_error()
        if errors is not None:
            errors = _in_deviations(errors, recording.values[:])
            group["seam_error"] = errors
            group.attrs["seam_error"] = _root_mean_square(errors)
            group.attrs["seams"] = overlap.seams
            found.append((overlap.seams, group.attrs["seam_error"]))

    _write_traces(out, recordings, windows, predict, write, batch_size)
    if not found:
        return {"seams": 0, "seam_error": None}
    seams, errors = np.transpose(found)
    return {
        "seams": int(seams.sum()),
        "seam_error": float(np.sqrt(np.average(np.square(errors), weights=seams))),
    }


def _decoded_variance(
    model: "NeuroBehaviorVAE", posterior: "Posterior", mean: Array, num_samples: int, seed: int
) -> Array:
    """Mean squared distance `(B, T, C)` from `mean` of windows decoded from draws of latents."""
    rng = np.random.default_rng(seed)
    deviation = np.exp(0.5 * posterior.logvar)
    total = np.zeros(mean.shape)
    for _ in range(num_samples):
        z = posterior.mu + deviation * rng.standard_normal(deviation.shape)
        total += np.square(model.decode(z.astype("float32"), len(z)) - mean)
    return total / num_samples


def _in_deviations(errors: Array, values: Array) -> Array:
    """Errors `(C,)` in standard deviations of `values` `(n, C)`; NaN where they do not vary."""
    count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    mean = np.nansum(values, axis=0, dtype="float64") / count
    deviation = np.sqrt(np.nansum(np.square(values - mean), axis=0) / count)
    return errors / np.where(deviation > 0, deviation, np.nan)


def _root_mean_square(errors: Array) -> float:
    """Over those `(C,)` that are not NaN; NaN where all are."""
    known = errors[~np.isnan(errors)]
    return float(np.sqrt(np.square(known).mean())) if len(known) else float("nan")


def _write_traces(
    out: PathLike,
    recordings: Sequence[Recording],
    windows: Windows,
    predict: Callable[[Array, int], list[Array]],
    write: Callable[..., None],
    batch_size: int,
) -> None:
    """Writes each recording once its windows are through, so that no other is held."""
    with whole_file(out, parents=True) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layout"] = "traces"
        for index, overlap in stitched(windows, predict, batch_size):
            recording, own = recordings[index], slice(None)
            if windows.recordings[index].filled_up:
                own = own_samples(recording, windows.seq_len)
            group = group_of(file, recording)
            write(group, recording, overlap, own)
            if len(recording.breaks):
                group["breaks"] = np.asarray(recording.breaks)
            if len(recording.channels) > MOST_NAMES:
                group["channel_names"] = recording.channels
            else:
                group["values"].attrs["channel_names"] = recording.channels
