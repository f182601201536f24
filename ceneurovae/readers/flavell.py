"""Whole-brain worm recordings of the Flavell lab and WormWideWeb: `gcamp/`, `behavior/`, `timing/`.

As published with Atanas et al., "Brain-wide representations of behavior spanning multiple
timescales and states in C. elegans", Cell, 2023, and Dag et al., "Dissecting the functional
organization of the C. elegans serotonergic system at whole-brain scale", Cell, 2023.
"""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from ceneurovae.hints import Array
from ceneurovae.readers.hdf5 import datasets
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source, find_labels, is_numeric
from ceneurovae.readers.table import transposed

NAME = "flavell"
TIMESTAMPS = "timing/timestamp_confocal"
# What `neural` means: the first of these that a file has.
TRACES = ("trace_array_original", "traces_array_F_F20", "trace_array")
SPLITS = "idx_splits"
SCORED = "gcamp/trace_array"
CAUTION = (
    "gcamp/trace_array was z-scored over the whole recording: its scale knows the test data, a "
    "leakage. Take gcamp/trace_array_original; the model scales it by the training data."
)


def matches(file: h5py.Group) -> bool:
    """Whether the file has traces and the times at which they were taken."""
    timestamps = file.get(TIMESTAMPS)
    known = is_numeric(timestamps) and timestamps.ndim == 1
    return known and isinstance(file.get("gcamp"), h5py.Group)


def sources(file: h5py.Group, stem: str, options: ReadOptions) -> list[Source]:
    """The file as one recording; which of its channels to read is for the user to say.

    `neural` is short for the traces, `behavior` for all behaviours of one column. The rate is one
    over the median interval of `timing/timestamp_confocal`, in seconds, and the recording was
    interrupted where `gcamp/idx_splits` says so.
    """
    timestamps = file[TIMESTAMPS]
    found = {
        f"{group}/{name}": dataset
        for group in ("gcamp", "behavior")
        if isinstance(file.get(group), h5py.Group)
        for name, dataset in datasets(file[group]).items()
        if is_numeric(dataset) and dataset.ndim in (1, 2) and name != SPLITS
    }
    frames = _frames(found, len(timestamps), stem)
    blocks = [
        Block.of(name, table)
        for name, table in ((n, _time_first(d, frames)) for n, d in found.items())
        if table is not None
    ]
    names = [block.name for block in blocks]
    traces = [f"gcamp/{name}" for name in TRACES if f"gcamp/{name}" in names][:1]
    behavior = [b.name for b in blocks if b.name.startswith("behavior/") and len(b.channels) == 1]
    interval = float(np.median(np.diff(timestamps[()])))
    if not interval > 0:
        raise ValueError(
            f"'{stem}' has a median interval of {interval} s in {TIMESTAMPS}, expected a positive "
            "one. Mend the timestamps."
        )
    return [
        Source(
            stem,
            tuple(blocks),
            rate_hz=1 / interval,
            breaks=_breaks(file, stem, frames),
            short_names={"neural": tuple(traces), "behavior": tuple(behavior)},
            labels=find_labels(file),
            unmatched=tuple(b.name for b in blocks if b.name.startswith("gcamp/trace")),
            cautions={SCORED: CAUTION} if SCORED in names else {},
            timestamps=timestamps,
        )
    ]


def _frames(found: dict[str, Any], timestamps: int, stem: str) -> int:
    """Number of frames: the length of the traces' time axis.

    It is the axis as long as the timestamps, whichever comes first; in a file with more
    timestamps than frames, as long as the behaviour; else the first.
    """
    traces = [d for n, d in found.items() if n.startswith("gcamp/trace") and d.ndim == 2]
    if not traces:
        raise ValueError(f"'{stem}' has no table of traces (T, neurons) in gcamp/.")
    behavior = {d.shape[0] for n, d in found.items() if n.startswith("behavior/") and d.ndim == 1}
    for lengths in ({timestamps}, behavior):
        for length in traces[0].shape:
            if length in lengths:
                return length
    return traces[0].shape[0]


def _time_first(dataset: Any, frames: int) -> Any:
    """The dataset with `frames` rows, or `None` if none of its axes is that long."""
    if dataset.shape[0] == frames:
        return dataset
    if dataset.ndim == 2 and dataset.shape[1] == frames:
        return transposed(dataset)
    return None


def _breaks(file: h5py.Group, stem: str, frames: int) -> tuple[int, ...]:
    """First frames, from 0, of every stretch but the first.

    `idx_splits` has one column per stretch, or row where the axes are the other way round: its
    first and last frame, counted from 1. One stretch per frame, as in some files, says nothing and
    counts as no interruption.
    """
    splits = file["gcamp"].get(SPLITS)
    if not is_numeric(splits):
        return ()
    splits = np.asarray(splits[()])
    if 2 not in splits.shape or splits.ndim != 2 or not np.isfinite(splits).all():
        raise ValueError(
            f"'{stem}' has gcamp/idx_splits of shape {splits.shape}, expected (2, stretches)."
        )
    ways = [way for way in (splits, splits.T) if len(way) == 2]
    first, last = next((way for way in ways if _ascending(way, frames)), ways[0]).astype("int64")
    if len(first) > 1 and (first == last).all():
        return ()
    if not _ascending((first, last), frames):
        raise ValueError(
            f"'{stem}' has gcamp/idx_splits {[first.tolist(), last.tolist()]}, expected ascending "
            f"first and last frames between 1 and {frames}."
        )
    return tuple(int(frame) - 1 for frame in first[1:])


def _ascending(splits: Sequence[Array] | Array, frames: int) -> bool:
    first, last = splits
    inside = (first <= last).all() and last[-1] <= frames
    return bool(first[0] == 1 and (first[1:] > last[:-1]).all() and inside)
