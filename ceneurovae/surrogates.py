"""Data without what channels share in time: what a model finds in it, it would find in anything."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.splits import Splits


def shifted_splits(splits: Splits, seed: int = 0) -> Splits:
    """`Splits` whose channels were circularly shifted against each other.

    Each channel keeps its values, what is missing among them, and its course in time; only what
    channels have to do with one another is lost. Within each recording, whatever lies between two
    edges is shifted by itself: an edge is where a split begins or ends, or an interruption is, so
    that no sample gets into another split. No two shifts within a block are nearer to each other,
    on the circle, than a window, or than there is room for: `samples // C`.

    Args:
        splits: `Splits`, with recordings in memory.
        seed: Whole number; decides the shifts.

    Raises:
        ValueError: if there is one channel only, or a recording is not in memory.
    """
    if len(splits.train.channels) < 2:
        raise ValueError(
            f"There is one channel, '{splits.train.channels[0]}': none that it could be shifted "
            "against. Choose several channels."
        )
    rng = np.random.default_rng(seed)

    def shift(block: Array) -> Array:
        shifts = channel_shifts(block.shape[1], len(block), splits.train.seq_len, rng)
        rows = (np.arange(len(block))[:, None] - shifts) % len(block)
        return np.take_along_axis(block, rows, axis=0)

    return _changed(splits, shift)


def shuffled_splits(splits: Splits, seed: int = 0) -> Splits:
    """`Splits` whose samples are in a random order within each of the blocks of `shifted_splits`.

    What channels have in common at one time is kept, what follows what is lost.
    """
    rng = np.random.default_rng(seed)
    return _changed(splits, lambda block: block[rng.permutation(len(block))])


def channel_shifts(channels: int, samples: int, least: int, rng: np.random.Generator) -> Array:
    """Shifts `(C,)` below `samples`, no two nearer than `least` on a circle of `samples`.

    Where there is no room for that, as far apart as there is room for.

    >>> channel_shifts(3, 30, 10, np.random.default_rng(0))
    array([20,  0, 10])
    """
    least = min(least, samples // channels)
    room = samples - channels * least
    places = np.sort(rng.integers(room + 1, size=channels)) + least * np.arange(channels)
    return rng.permutation(places)


def block_edges(splits: Splits, index: int) -> Array:
    """Samples of recording `index` at which a split begins or ends or an interruption is.

    Ascending, with 0 and the length of the recording.
    """
    recording = splits.train.recordings[index]
    spans = [part.covered(index).ravel() for part in splits]
    return np.unique(np.concatenate([recording.stretches.ravel(), *spans])).astype("int64")


def _changed(splits: Splits, change: Callable[[Array], Array]) -> Splits:
    """`Splits` with every block `(n, C)` between edges changed by a function."""
    recordings = []
    for index, recording in enumerate(splits.train.recordings):
        if not recording.in_memory:
            raise ValueError(
                f"Recording '{recording.name}' is larger than the memory it may take, so its "
                "channels cannot be shifted. Train on fewer or shorter recordings for this check."
            )
        values = recording.values.copy()
        edges = block_edges(splits, index)
        for start, stop in itertools.pairwise(edges):
            values[start:stop] = change(values[start:stop])
        recordings.append(dataclasses.replace(recording, values=values))
    return splits._replace(
        **{
            name: dataclasses.replace(windows, recordings=tuple(recordings))
            for name, windows in splits._asdict().items()
        }
    )
