"""From files to batches in one call."""

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ceneurovae.hints import JSON, Paths
from ceneurovae.readers import read_alike, read_recordings
from ceneurovae.recording import Recording
from ceneurovae.short import fill_short
from ceneurovae.splits import Splits, split_datasets

DEFAULT_SEQ_LEN = 100


def import_h5(
    paths: Paths,
    channels: Sequence[str] | str | None = None,
    seq_len: int | None = None,
    stride: int = 1,
    valid_fraction: float = 0.12,
    test_fraction: float = 0.0,
    gap: int | None = None,
    by: str | dict[str, str] | None = None,
    short: str = "error",
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    masks: bool = False,
    **reading: Any,
) -> tuple[Any, ...]:
    """Reads files and streams them as train and validation batches that share no sample.

    Args:
        paths: Files, folders and patterns: HDF5 with an array of recordings `(T, C)` or of windows
            `(N, T, C)` or a group per recording, whole-brain worm files, NWB, SLEAP, DeepLabCut,
            LFADS, NPZ, NPY and `.ts`.
        channels: Names of channels or of whole datasets; by default those of the layout.
        seq_len: Length `T` of a window, in samples; by default that of the windows in the file,
            or 100 where it holds recordings.
        stride, valid_fraction, test_fraction, gap, by, short: As for `split_datasets`.
        batch_size: Windows in a batch.
        shuffle: Whether each epoch goes through the training windows in a new order.
        seed: Decides that order, and which recordings or groups are drawn.
        masks: Whether to yield `(x, mask)` instead of `x` with NaN for missing.
        **reading: Further arguments of `read_recordings`: `align`, `resample_hz`, `memory_gb`,
            `layout`, `transpose`, `min_likelihood`, `allow_external`.

    Returns:
        `(train_ds, valid_ds)`, and `(train_ds, valid_ds, test_ds)` with `test_fraction > 0`:
        `tf.data.Dataset`s of float32 `(B, T, C)` in raw units.

    Raises:
        FileNotFoundError, ValueError: if a file, a channel or an argument cannot be used.
    """
    splits = load_splits(
        paths,
        channels,
        seq_len,
        stride=stride,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        gap=gap,
        by=by,
        short=short,
        seed=seed,
        **reading,
    )
    from ceneurovae.pipeline import stream  # late: the errors above need no TensorFlow

    datasets = stream(splits, batch_size, shuffle, seed, masks)
    return datasets if test_fraction else datasets[:2]


SPLITTING = ("stride", "valid_fraction", "test_fraction", "gap", "by", "short", "seed")


def load_splits(
    paths: Paths,
    channels: Sequence[str] | str | None = None,
    seq_len: int | None = None,
    **arguments: Any,
) -> Splits:
    """The reading half of `import_h5`, with its arguments: `Splits(train, valid, test)`."""
    splitting = {name: arguments.pop(name) for name in SPLITTING if name in arguments}
    recordings = read_recordings(paths, channels, **arguments)
    if seq_len is None:
        seq_len = recordings[0].window_len or DEFAULT_SEQ_LEN
    splits = split_datasets(recordings, seq_len, **splitting)
    _check_channels(splits.train.recordings)
    _warn_of_copies(splits.train.recordings)
    return splits


def reload_splits(manifest: JSON) -> Splits:
    """The splits of a manifest, their values read again from the files it names.

    Raises:
        FileNotFoundError, ValueError: if a file is gone or no longer holds what it held, or the
            splits share a sample.
    """
    splits = reread_splits(manifest)
    if any(splits.shared_samples()):
        raise ValueError(
            f"split.json puts {sum(splits.shared_samples())} samples into two splits: it was "
            "changed. Train again."
        )
    return splits


def reread_splits(manifest: JSON) -> Splits:
    """As `reload_splits`, but whatever the splits share."""
    wanted = {recording["name"]: recording for recording in manifest["recordings"]}
    paths = list(dict.fromkeys(recording["path"] for recording in wanted.values()))
    if None in paths:
        raise ValueError("The run was trained on arrays in memory, which cannot be read again.")
    found = {r.name: r for r in read_alike(paths, manifest["channels"], reading_of(manifest))}
    for name, recording in wanted.items():
        if name in found and recording.get("filled_up"):
            found[name] = fill_short(found[name], manifest["seq_len"])
        samples = len(found[name].values) if name in found else 0
        if samples != recording["samples"]:
            raise ValueError(
                f"Recording '{name}' of '{recording['path']}' has {samples} samples, but had "
                f"{recording['samples']} when the model was trained. Restore the file."
            )
    return Splits.from_manifest(manifest, [found[name] for name in wanted])


def reading_of(manifest: JSON) -> JSON:
    """How the recordings of a manifest were read; the manifests of version 0.1.0 do not say."""
    return manifest.get("reading", {"align": "error", "resample_hz": None})


def _check_channels(recordings: Sequence[Recording]) -> None:
    """An error for a channel without any value, a warning for one that never changes.

    What is too large for memory is not read for it: the scaler does the same in training.
    """
    if not all(recording.in_memory for recording in recordings):
        return
    for index, channel in enumerate(recordings[0].channels):
        columns = [recording.values[:, index] for recording in recordings]
        observed = np.concatenate([column[~np.isnan(column)] for column in columns])
        if not observed.size:
            raise ValueError(
                f"Channel '{channel}' is missing (NaN) throughout '{recordings[0].name}'"
                f"{' and all other recordings' if len(recordings) > 1 else ''}. "
                "Leave it out: name the other channels with channels= or --channels."
            )
        if observed.min() == observed.max():
            warnings.warn(f"Channel '{channel}' is constant: kept, with scale 1.", stacklevel=3)


def _warn_of_copies(recordings: Sequence[Recording]) -> None:
    """A warning where two recordings hold the same values, for they would be split apart."""
    seen: dict[bytes, str] = {}
    for recording in recordings:
        if recording.in_memory:
            digest = hashlib.blake2b(recording.values).digest()
            other = seen.setdefault(digest, recording.name)
            if other != recording.name:
                warnings.warn(
                    f"Recordings '{other}' and '{recording.name}' hold the same values. Give each "
                    "once: one may be tested on what it was trained on.",
                    stacklevel=3,
                )
