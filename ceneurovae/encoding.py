"""Latents of whole recordings, written to HDF5."""

from pathlib import Path

import h5py
import numpy as np

from ceneurovae.import_data import reading_of
from ceneurovae.readers import read_alike
from ceneurovae.run_folder import RunFolder
from ceneurovae.short import fill_short
from ceneurovae.tracking import tracked
from ceneurovae.whole_file import whole_file
from ceneurovae.windows import all_windows

# Windows that are read at a time.
SLAB = 1024


def encode_file(
    run, paths, out, stride=1, batch_size=256, overwrite=False, memory_gb=None, refine=None
):
    """Encodes recordings with the model of a run.

    Where the model was trained on recordings that were filled up to the length of a window, so are
    those that are encoded. Writes one group per recording, named as it is, with `mu` and `logvar`
    `(n, Z)`, `start` and `stop` `(n,)`, the samples of each window (`stop` is one past the last),
    and the attributes `path` and, where it is known, `sampling_rate` in Hz.

    Args:
        run: Run folder.
        paths: One or several files with the channels the model was trained on.
        out: HDF5 file to write.
        stride: Samples from the start of one window to the start of the next.
        batch_size: Windows at a time.
        overwrite: Whether to replace `out`.
        memory_gb: How much of the recordings may be held in memory; a quarter of it by default.
        refine: Steps in which the latents are improved on the decoder; by default those that the
            run's `choices.json` names, 0 where it names none.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    windows = read_windows(run, paths, out, stride, overwrite, memory_gb, refine)
    encode_windows(run, windows, out, batch_size, refine)


def read_windows(run, paths, out, stride=1, overwrite=False, memory_gb=None, refine=None):
    """The half of `encode_file` that can fail on the user's files, and needs no TensorFlow."""
    RunFolder(run).refine_steps(refine)
    _, filled, seq_len = read_whole(run, paths, out, overwrite, memory_gb)
    return all_windows(filled, seq_len, stride)


def read_whole(run, paths, out, overwrite=False, memory_gb=None):
    """Reads recordings as those of a run were read.

    Returns:
        `(recordings, filled, seq_len)`: the recordings as they are, the same filled up where those
        of the run were, and the length of a window in samples.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file cannot be used, or `out` is there.
    """
    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"'{out}' exists. Choose another file or pass --overwrite.")
    manifest = RunFolder(run).manifest
    seq_len = manifest["seq_len"]
    recordings = read_alike(paths, manifest["channels"], reading_of(manifest), memory_gb)
    if not any(recording.get("filled_up") for recording in manifest["recordings"]):
        return recordings, recordings, seq_len
    return recordings, [fill_short(recording, seq_len) for recording in recordings], seq_len


def encode_windows(run, windows, out, batch_size=256, refine=None):
    """The other half: encodes `Windows` and writes `out`."""
    run = RunFolder(run)
    model, refine = run.load_model(), run.refine_steps(refine)
    slabs = range(0, len(windows), SLAB)
    posteriors = [
        model.encode(windows.gather(range(n, min(n + SLAB, len(windows)))), batch_size, refine)
        for n in tracked(slabs, len(slabs), "Encoding")
    ]
    mu, logvar = (np.concatenate(parts) for parts in zip(*posteriors, strict=True))
    with whole_file(out) as temporary, h5py.File(temporary, "w") as file:
        for index, recording in enumerate(windows.recordings):
            rows = windows.recording == index
            group = group_of(file, recording)
            group["mu"] = mu[rows]
            group["logvar"] = logvar[rows]
            group["start"] = windows.start[rows]
            group["stop"] = windows.start[rows] + windows.seq_len


def group_of(file, recording):
    """A group for a recording in an HDF5 file, with the attributes that say where it is from."""
    group = file.require_group(recording.name)
    group.attrs["path"] = str(recording.path)
    if recording.rate_hz is not None:
        group.attrs["sampling_rate"] = recording.rate_hz
    return group
