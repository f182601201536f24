"""What becomes of recordings that are shorter than a window."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.recording import Recording
from ceneurovae.windows import longest_stretch

SHORT = ("error", "drop", "pad")


def fill_short(recording: Recording, seq_len: int) -> Recording:
    """`recording` with every stretch shorter than `seq_len` filled up with NaN at its end."""
    if recording.window_len is not None and recording.window_len >= seq_len:
        return recording
    stretches = recording.stretches
    lengths = np.diff(stretches, axis=1)[:, 0]
    if (lengths >= seq_len).all():
        return recording
    filled = []
    with recording.opened() as values:
        for start, stop in stretches:
            missing = max(0, seq_len - (stop - start))
            filled.append(
                np.pad(values[start:stop], ((0, missing), (0, 0)), constant_values=np.nan)
            )
    ends = np.cumsum(np.maximum(lengths, seq_len))
    return dataclasses.replace(
        recording,
        values=np.concatenate(filled),
        breaks=ends[:-1],
        window_len=None,
        filled_up=True,
    )


def own_samples(recording: Recording, seq_len: int) -> Array:
    """Where the `n` samples of `recording` are in what `fill_short` makes of it, `(n,)`.

    >>> from ceneurovae.recording import Recording
    >>> recording = Recording("a", np.zeros((6, 1)), ("x",), breaks=[2])
    >>> own_samples(recording, seq_len=3).tolist()
    [0, 1, 3, 4, 5, 6]
    """
    lengths = np.diff(recording.stretches, axis=1)[:, 0]
    added = np.maximum(seq_len - lengths, 0)
    return np.arange(lengths.sum()) + np.repeat(np.cumsum(added) - added, lengths)


def without_short(recordings: Sequence[Recording], seq_len: int, least: int) -> list[Recording]:
    """The recordings with a stretch of `seq_len` and `least` samples in all; warns of the rest.

    Raises:
        ValueError: if none is left.
    """
    kept = [r for r in recordings if longest_stretch(r) >= seq_len and len(r.values) >= least]
    if not kept:
        raise ValueError(
            f"All {len(recordings)} recordings are too short: the longest has "
            f"{max(len(r.values) for r in recordings)} samples, {least} are needed. Shorten "
            "seq_len."
        )
    dropped = [r.name for r in recordings if r not in kept]
    if dropped:
        listed = ", ".join(dropped[:5]) + (" ..." if len(dropped) > 5 else "")
        warnings.warn(
            f"{len(dropped)} of {len(recordings)} recordings are shorter than {least} samples and "
            f"left out: {listed}.",
            stacklevel=3,
        )
    return kept
