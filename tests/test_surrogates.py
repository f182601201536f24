"""Surrogate data: what is kept, what is lost, and that nothing gets into another split."""

import dataclasses
import itertools

import numpy as np
import pytest

from ceneurovae import split_datasets
from ceneurovae.recording import Recording
from ceneurovae.surrogates import block_edges, channel_shifts, shifted_splits, shuffled_splits

T = 10


@pytest.fixture(scope="module")
def splits():
    """Two recordings, one of them interrupted, with a tenth of the values missing."""
    rng = np.random.default_rng(0)
    recordings = []
    for name, samples, breaks in (("a", 300, [80, 140]), ("b", 200, [])):
        values = rng.normal(size=(samples, 4)).cumsum(axis=0)
        values[rng.random(values.shape) < 0.1] = np.nan
        recordings.append(Recording(name, values, ("w", "x", "y", "z"), breaks=breaks))
    return split_datasets(recordings, T, test_fraction=0.2)


@pytest.mark.parametrize("surrogate", [shifted_splits, shuffled_splits])
def test_every_block_keeps_the_values_of_each_channel(splits, surrogate):
    changed = surrogate(splits, seed=1)
    for index, (before, after) in enumerate(
        zip(splits.train.recordings, changed.train.recordings, strict=True)
    ):
        edges = block_edges(splits, index)
        assert set(before.breaks) <= set(edges.tolist())
        for part in splits:
            assert set(part.covered(index).ravel()) <= set(edges.tolist())
        assert not np.array_equal(before.values, after.values, equal_nan=True)
        for start, stop in itertools.pairwise(edges):
            one, other = (r.values[start:stop] for r in (before, after))
            np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(other, axis=0))
    assert changed.manifest() == splits.manifest()
    for part in changed:
        assert part.recordings is changed.train.recordings or part.recordings == (
            changed.train.recordings
        )


def test_shifted_channels_keep_their_course_and_time_shuffled_ones_their_company(splits):
    shifted, shuffled = (
        f(splits, seed=1).train.recordings[1] for f in (shifted_splits, shuffled_splits)
    )
    original = splits.train.recordings[1].values
    start, stop = block_edges(splits, 1)[:2]
    block = original[start:stop]
    for channel in range(4):
        found = shifted.values[start:stop, channel]
        turned = [np.roll(block[:, channel], k) for k in range(len(block))]
        assert any(np.array_equal(found, one, equal_nan=True) for one in turned)
    rows = {row.tobytes() for row in block}
    assert {row.tobytes() for row in shuffled.values[start:stop]} == rows
    assert {row.tobytes() for row in shifted.values[start:stop]} != rows


@pytest.mark.parametrize(("channels", "samples"), [(2, 20), (5, 200), (30, 100), (8, 5)])
def test_channels_are_as_far_apart_as_there_is_room_for(channels, samples):
    for seed in range(20):
        shifts = channel_shifts(channels, samples, T, np.random.default_rng(seed))
        apart = np.diff(np.sort(np.append(shifts, shifts.min() + samples)))
        assert apart.min() >= min(T, samples // channels)


def test_seeds_decide(splits):
    one, same, other = (shifted_splits(splits, seed).test.gather() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)


def test_what_cannot_be_shifted():
    alone = split_datasets(np.zeros((200, 1)), T)
    with pytest.raises(ValueError, match="There is one channel, '0': none that it could be"):
        shifted_splits(alone)

    class Stored:
        shape, ndim = (200, 2), 2

        def __len__(self):
            return 200

    recording = Recording("a", Stored(), ("x", "y"))
    stored = split_datasets(np.zeros((200, 2)), T)
    stored = stored._replace(train=dataclasses.replace(stored.train, recordings=(recording,)))
    with pytest.raises(ValueError, match="'a' is larger than the memory it may take"):
        shifted_splits(stored)
