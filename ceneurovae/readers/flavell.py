"""Whole-brain worm recordings of the Flavell lab: `gcamp/`, `behavior/`, `timing/`.

As published with Dag et al., "Dissecting the functional organization of the C. elegans
serotonergic system at whole-brain scale", Cell, 2023.
"""

import numpy as np

from ceneurovae.readers.source import Block, Source, is_numeric

NAME = "flavell"
TIMESTAMPS = "timing/timestamp_confocal"


def matches(file):
    """Whether the file has traces and the times at which they were taken."""
    return "gcamp" in file and TIMESTAMPS in file


def sources(file, stem):
    """The file as one recording; which of its channels to read is for the user to say.

    The rate is one over the median interval of `timing/timestamp_confocal`, in seconds, and the
    recording was interrupted where `gcamp/idx_splits` says so.
    """
    frames = _frames(file, stem)
    blocks = tuple(
        Block.of(f"{group}/{name}", dataset)
        for group in ("gcamp", "behavior")
        for name, dataset in file.get(group, {}).items()
        if is_numeric(dataset) and dataset.ndim in (1, 2) and dataset.shape[0] == frames
    )
    interval = float(np.median(np.diff(file[TIMESTAMPS][()])))
    if not interval > 0:
        raise ValueError(
            f"'{stem}' has a median interval of {interval} s in {TIMESTAMPS}, expected a positive "
            "one. Mend the timestamps."
        )
    return [Source(stem, blocks, rate_hz=1 / interval, breaks=_breaks(file, stem, frames))]


def _frames(file, stem):
    """Number of frames: that of the traces, since there may be more timestamps than frames."""
    for name, dataset in file["gcamp"].items():
        if name.startswith("trace") and is_numeric(dataset) and dataset.ndim == 2:
            return dataset.shape[0]
    raise ValueError(f"'{stem}' has no table of traces (T, neurons) in gcamp/.")


def _breaks(file, stem, frames):
    """First frames, from 0, of every stretch but the first.

    `idx_splits` has one column per stretch: its first and last frame, counted from 1. One column
    per frame, as in some files, says nothing and counts as no interruption.
    """
    splits = file["gcamp"].get("idx_splits")
    if splits is None:
        return ()
    first, last = np.asarray(splits[()], dtype="int64").reshape(2, -1)
    if len(first) > 1 and (first == last).all():
        return ()
    if first[0] != 1 or (first[1:] <= last[:-1]).any() or last[-1] > frames:
        raise ValueError(
            f"'{stem}' has gcamp/idx_splits {[first.tolist(), last.tolist()]}, expected ascending "
            f"first and last frames between 1 and {frames}."
        )
    return tuple(int(frame) - 1 for frame in first[1:])
