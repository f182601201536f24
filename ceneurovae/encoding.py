"""Latents of whole recordings, written to HDF5."""

from pathlib import Path

import h5py

from ceneurovae.import_data import reading_of
from ceneurovae.readers import read_alike
from ceneurovae.run_folder import RunFolder
from ceneurovae.short import fill_short
from ceneurovae.whole_file import whole_file
from ceneurovae.windows import all_windows


def encode_file(run, paths, out, stride=1, batch_size=256, overwrite=False, memory_gb=None):
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

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    encode_windows(
        run, read_windows(run, paths, out, stride, overwrite, memory_gb), out, batch_size
    )


def read_windows(run, paths, out, stride=1, overwrite=False, memory_gb=None):
    """The half of `encode_file` that can fail on the user's files, and needs no TensorFlow."""
    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"'{out}' exists. Choose another file or pass --overwrite.")
    manifest = RunFolder(run).manifest
    recordings = read_alike(paths, manifest["channels"], reading_of(manifest), memory_gb)
    if any(recording.get("filled_up") for recording in manifest["recordings"]):
        recordings = [fill_short(recording, manifest["seq_len"]) for recording in recordings]
    return all_windows(recordings, manifest["seq_len"], stride)


def encode_windows(run, windows, out, batch_size=256):
    """The other half: encodes `Windows` and writes `out`."""
    from ceneurovae.pipeline import make_dataset

    posterior = RunFolder(run).load_model().encode(make_dataset(windows, batch_size))
    with whole_file(out) as temporary, h5py.File(temporary, "w") as file:
        for index, recording in enumerate(windows.recordings):
            rows = windows.recording == index
            group = file.create_group(recording.name)
            group["mu"] = posterior.mu[rows]
            group["logvar"] = posterior.logvar[rows]
            group["start"] = windows.start[rows]
            group["stop"] = windows.start[rows] + windows.seq_len
            group.attrs["path"] = str(recording.path)
            if recording.rate_hz is not None:
                group.attrs["sampling_rate"] = recording.rate_hz
