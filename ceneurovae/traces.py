"""Windows of whole recordings, put together again: traces without holes, or as the model sees them.

The windows overlap, and where they do their mean is taken, each with weights that fall in a
straight line from its middle towards its ends, where a model knows least of what is around.
"""

import h5py
import numpy as np

from ceneurovae.encoding import group_of, read_whole
from ceneurovae.run_folder import RunFolder
from ceneurovae.short import own_samples
from ceneurovae.tracking import tracked
from ceneurovae.whole_file import whole_file
from ceneurovae.windows import Windows, covering_runs, require_window

QUANTILES = (0.05, 0.95)
# Values of draws that are held in memory, 256 MiB.
DRAWN_AT_ONCE = 1 << 26
# Names that fit into an attribute of HDF5; more of them become a dataset.
MOST_NAMES = 4000


def impute_file(
    run,
    paths,
    out,
    stride=None,
    batch_size=256,
    overwrite=False,
    memory_gb=None,
    refine=None,
    num_samples=None,
    seed=0,
):
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
    run, paths, out, stride=None, batch_size=256, overwrite=False, memory_gb=None, refine=None
):
    """Reconstructs recordings with the model of a run: decoded from the means of its posterior.

    Writes what `impute_file` does, without `observed`. A sample is NaN where its stretch is shorter
    than a window and the model was not trained on recordings that were filled up.

    Args:
        run, paths, out, stride, batch_size, overwrite, memory_gb: As for `impute_file`.
        refine: Steps in which the latents are improved on the decoder; by default those that the
            run's `choices.json` names, 0 where it names none.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    whole = read_traces(run, paths, out, stride, overwrite, memory_gb, refine)
    reconstruct_traces(run, *whole, out, batch_size, refine)


def read_traces(
    run, paths, out, stride=None, overwrite=False, memory_gb=None, refine=None, num_samples=None
):
    """The half that can fail on the user's files and arguments, and needs no TensorFlow.

    Returns:
        `(recordings, windows)`: the recordings as they are, and `Windows` that cover them, filled
        up where those of the run were.
    """
    RunFolder(run).refine_steps(refine)
    if num_samples is not None and not _is_count(num_samples):
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
    run, recordings, windows, out, batch_size=256, refine=None, num_samples=None, seed=0
):
    """The other half of `impute_file`: fills in what is missing and writes `out`."""
    from ceneurovae.model.refine import REFINE

    refine = REFINE if refine is None else refine
    model = RunFolder(run).load_model()
    names = ["values"]
    if num_samples is not None:
        names += ["low", "high"]
        window = windows.seq_len * len(windows.channels)
        batch_size = min(batch_size, max(1, DRAWN_AT_ONCE // (window * num_samples)))

    def predict(x, first):
        mean, *draws = model.imputations(x, num_samples or 0, refine=refine, seed=seed + first)
        return [mean, *np.quantile(draws, QUANTILES, axis=0)] if draws else [mean]

    def write(group, recording, means):
        values = recording.values[:]
        observed = ~np.isnan(values)
        for name, mean in zip(names, means, strict=True):
            group[name] = np.where(observed, values, mean)
        group["observed"] = observed

    _write_traces(out, recordings, windows, predict, write, batch_size)


def reconstruct_traces(run, recordings, windows, out, batch_size=256, refine=None):
    """The other half of `reconstruct_file`: reconstructs and writes `out`."""
    run = RunFolder(run)
    refine = run.refine_steps(refine)
    model = run.load_model()

    def predict(x, first):
        return [model.reconstruct(x, refine=refine)]

    def write(group, recording, means):
        (group["values"],) = means

    _write_traces(out, recordings, windows, predict, write, batch_size)


def _write_traces(out, recordings, windows, predict, write, batch_size):
    """Writes each recording once its windows are through, so that no other is held."""
    with whole_file(out) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layout"] = "traces"
        for index, means in stitched(windows, predict, batch_size):
            recording = recordings[index]
            if windows.recordings[index].filled_up:
                own = own_samples(recording, windows.seq_len)
                means = [mean[own] for mean in means]
            group = group_of(file, recording)
            write(group, recording, means)
            if len(recording.breaks):
                group["breaks"] = np.asarray(recording.breaks)
            if len(recording.channels) > MOST_NAMES:
                group["channel_names"] = recording.channels
            else:
                group["values"].attrs["channel_names"] = recording.channels


def stitched(windows, predict, batch_size=256):
    """What is predicted for windows, as traces of whole recordings.

    Args:
        windows: `Windows`.
        predict: Function of windows `(B, T, C)`, NaN where missing, and of the number of the first
            of them, that gives a list of arrays `(B, T, C)`.
        batch_size: Windows at a time; they may be of several recordings.

    Yields:
        Index of a recording, and a list of arrays `(n, C)`, float32, one for each that `predict`
        gives: means over the windows that a sample is in, with the weights of `taper`; NaN where it
        is in none.

    Raises:
        ValueError: if `batch_size` is no number of windows.
    """
    if not _is_count(batch_size):
        raise ValueError(f"batch_size is {batch_size!r}, expected a whole number of at least 1.")
    current, overlap = None, None
    starts = range(0, len(windows), batch_size)
    for first in tracked(starts, len(starts), "Predicting windows"):
        rows = range(first, min(first + batch_size, len(windows)))
        parts = predict(windows.gather(rows), first)
        for row, (index, start) in enumerate(zip(*windows.locate(rows), strict=True)):
            if index != current:
                if overlap is not None:
                    yield current, overlap.means()
                shape = windows.recordings[index].values.shape
                current, overlap = int(index), Overlap(shape, windows.seq_len, len(parts))
            overlap.add(start, [part[row] for part in parts])
    if overlap is not None:
        yield current, overlap.means()


def _is_count(value):
    return isinstance(value, (int, np.integer)) and value >= 1


class Overlap:
    """Weighted sums of the windows of one recording, and their means.

    Args:
        shape: `(n, C)` of the recording.
        seq_len: Length `T` of a window, in samples.
        count: Arrays that are averaged side by side.
    """

    def __init__(self, shape, seq_len, count):
        self.taper = taper(seq_len)
        self.sums = [np.zeros(shape) for _ in range(count)]
        self.weight = np.zeros(shape[0])

    def add(self, start, parts):
        """Adds a window that begins at sample `start`, a list of `(T, C)`."""
        span = slice(start, start + len(self.taper))
        for total, part in zip(self.sums, parts, strict=True):
            total[span] += self.taper[:, None] * part
        self.weight[span] += self.taper

    def means(self):
        """A list of `(n, C)`, float32, NaN where no window was."""
        weight = np.where(self.weight > 0, self.weight, np.nan)[:, None]
        return [(total / weight).astype("float32") for total in self.sums]


def taper(seq_len):
    """Weights `(T,)` of a window: 1 at its ends, rising by 1 a sample to the middle.

    >>> taper(5)
    array([1., 2., 3., 2., 1.])
    """
    steps = np.arange(1.0, seq_len + 1)
    return np.minimum(steps, steps[::-1])
