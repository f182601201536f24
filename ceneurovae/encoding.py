"""Latents of whole recordings, written to a file as they come: nothing grows with their length."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ceneurovae.hints import Array, PathLike, Paths
from ceneurovae.import_data import reading_of
from ceneurovae.readers import read_alike
from ceneurovae.recording import Recording, check_finite
from ceneurovae.run_folder import RunFolder
from ceneurovae.short import fill_short
from ceneurovae.shuffling import window_batches
from ceneurovae.stitching import require_batch_size
from ceneurovae.tracking import tracked
from ceneurovae.whole_file import refuse_folder, whole_file
from ceneurovae.windows import Windows, all_windows

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

# Windows that are handed to the model at a time.
SLAB = 1024
# Recordings larger than this together are read from disk, a piece at a time.
HELD_GB = 0.25


def encode_file(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    stride: int = 1,
    batch_size: int = 256,
    overwrite: bool = False,
    memory_gb: float | None = None,
    refine: int | None = None,
) -> None:
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
        memory_gb: How much of the recordings may be held in memory, 0.25 by default; the rest is
            read where it is needed.
        refine: Steps in which the latents are improved on the decoder; by default those that the
            run's `choices.json` names, 0 where it names none.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: if a file or argument cannot be used.
    """
    windows = read_windows(run, paths, out, stride, overwrite, memory_gb, refine)
    encode_windows(run, windows, out, batch_size, refine)


def read_windows(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    stride: int = 1,
    overwrite: bool = False,
    memory_gb: float | None = None,
    refine: int | None = None,
) -> Windows:
    """The half of `encode_file` that can fail on the user's files, and needs no TensorFlow."""
    RunFolder(run).refine_steps(refine)
    resampled = reading_of(RunFolder(run).manifest)["resample_hz"] is not None
    memory_gb = HELD_GB if memory_gb is None and not resampled else memory_gb
    _, filled, seq_len = read_whole(run, paths, out, overwrite, memory_gb)
    return all_windows(filled, seq_len, stride)


def read_whole(
    run: PathLike,
    paths: Paths,
    out: PathLike,
    overwrite: bool = False,
    memory_gb: float | None = None,
) -> tuple[list[Recording], list[Recording], int]:
    """Reads recordings as those of a run were read.

    Returns:
        `(recordings, filled, seq_len)`: the recordings as they are, the same filled up where those
        of the run were, and the length of a window in samples.

    Raises:
        FileNotFoundError, ValueError: if a file cannot be used.
        FileExistsError, IsADirectoryError: if `out` is there, or a folder.
    """
    refuse_folder(out)
    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"'{out}' exists. Choose another file or pass --overwrite.")
    manifest = RunFolder(run).manifest
    seq_len = manifest["seq_len"]
    recordings = read_alike(paths, manifest["channels"], reading_of(manifest), memory_gb)
    if not any(recording.get("filled_up") for recording in manifest["recordings"]):
        return recordings, recordings, seq_len
    return recordings, [fill_short(recording, seq_len) for recording in recordings], seq_len


def encode_windows(
    run: PathLike, windows: Windows, out: PathLike, batch_size: int = 256, refine: int | None = None
) -> None:
    """The other half: encodes `Windows` and writes `out`.

    Raises:
        ValueError: if `batch_size` is no number of windows, or a value is infinite.
    """
    require_batch_size(batch_size)
    run = RunFolder(run)
    model, refine = run.load_model(), run.refine_steps(refine)
    slab = batch_size * max(1, SLAB // batch_size)
    counts = np.bincount(
        windows.runs[:, 0], windows.runs[:, 2], minlength=len(windows.recordings)
    ).astype("int64")
    first = np.cumsum(counts) - counts  # of each recording's windows among all
    done = 0
    with whole_file(out, parents=True) as temporary, h5py.File(temporary, "w") as file:
        groups = [
            _latents_group(file, recording, count, model.config.latent_dim)
            for recording, count in zip(windows.recordings, counts, strict=True)
        ]
        for x in tracked(window_batches(windows, slab), -(-len(windows) // slab), "Encoding"):
            owner, start = windows.locate(range(done, done + len(x)))
            _require_finite(x, windows.recordings, owner, start)
            posterior = encode_alike(model, x, batch_size, refine)
            for index in np.unique(owner):
                rows, recording = owner == index, windows.recordings[index]
                place = done + np.flatnonzero(rows) - first[index]
                place = slice(int(place[0]), int(place[-1]) + 1)
                _write_latents(
                    groups[index],
                    place,
                    [part[rows] for part in posterior],
                    start[rows],
                    windows.seq_len,
                    recording.rate_hz,
                )
            done += len(x)


def encode_alike(
    model: "NeuroBehaviorVAE", x: Array, batch_size: int, refine: int = 0
) -> list[Array]:
    """`model.encode` of windows `(n, T, C)` in batches that all have `batch_size` windows.

    The last is filled up with copies of its last window, so that every window is computed in
    arrays of the same shape, in which matrix products are rounded alike.
    """
    missing = -len(x) % batch_size
    if missing:
        x = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
    posterior = model.encode(x, batch_size, refine)
    return [part[: len(x) - missing] for part in posterior]


def _require_finite(x: Array, recordings: Sequence[Recording], owner: Array, start: Array) -> None:
    """Raises a `ValueError` if a window `(T, C)` of `x` holds an infinite value."""
    infinite = np.isinf(x).any(axis=(1, 2))
    if infinite.any():
        row = int(np.argmax(infinite))
        recording = recordings[owner[row]]
        check_finite(x[row], recording.name, recording.channels, int(start[row]))


def _latents_group(file: h5py.File, recording: Recording, count: int, latents: int) -> h5py.Group:
    """The group of a recording, with room for the latents of so many windows."""
    group = group_of(file, recording)
    for name in ("mu", "logvar"):
        group.create_dataset(name, (count, latents), "float32")
    for name in ("start", "stop"):
        group.create_dataset(name, (count,), "int64")
    if recording.rate_hz is not None:
        group.create_dataset("start_seconds", (count,), "float64")
    return group


def _write_latents(
    group: h5py.Group,
    rows: slice,
    posterior: Sequence[Array],
    start: Array,
    seq_len: int,
    rate_hz: float | None,
) -> None:
    group["mu"][rows], group["logvar"][rows] = posterior
    group["start"][rows], group["stop"][rows] = start, start + seq_len
    if rate_hz is not None:
        group["start_seconds"][rows] = start / rate_hz


def group_of(file: h5py.File, recording: Recording) -> h5py.Group:
    """A group for a recording in an HDF5 file, with the attributes that say where it is from."""
    group = file.require_group(recording.name)
    group.attrs["path"] = str(recording.path)
    if recording.rate_hz is not None:
        group.attrs["sampling_rate"] = recording.rate_hz
    return group
