"""Recordings -> train, validation and test windows that share no sample."""

from typing import NamedTuple

import numpy as np

from ceneurovae.recording import as_recordings
from ceneurovae.windows import Windows, require_window, window_starts


class Splits(NamedTuple):
    """Three `Windows` over the same recordings; `test` is empty unless it was asked for."""

    train: Windows
    valid: Windows
    test: Windows

    def manifest(self):
        """What is in which split, as JSON types, enough to build the same splits again."""
        train = self.train
        return {
            "seq_len": train.seq_len,
            "channels": list(train.channels),
            "recordings": [
                {
                    "name": recording.name,
                    "path": None if recording.path is None else str(recording.path),
                    "samples": len(recording.values),
                    "rate_hz": recording.rate_hz,
                }
                for recording in train.recordings
            ],
            "splits": {name: windows.runs() for name, windows in self._asdict().items()},
        }

    @classmethod
    def from_manifest(cls, manifest, recordings):
        """The inverse of `manifest`, checked again."""
        splits = manifest["splits"]
        return cls(
            *(
                Windows.from_runs(recordings, manifest["seq_len"], splits[name])
                for name in cls._fields
            )
        ).verified()

    def verified(self):
        """Itself, after counting that no sample is in two splits.

        Raises:
            RuntimeError: if one is, which would be a defect of this package.
        """
        for index, covered in enumerate(zip(*(part.coverage() for part in self), strict=True)):
            shared = int((np.sum(covered, axis=0) > 1).sum())
            if shared:
                name = self.train.recordings[index].name
                raise RuntimeError(f"{shared} samples of recording '{name}' are in two splits.")
        return self


def split_datasets(
    data,
    seq_len,
    stride=1,
    valid_fraction=0.12,
    test_fraction=0.0,
    gap=None,
    by="time",
    seed=0,
):
    """Splits recordings into train, validation and test windows that share no sample.

    By `"time"`, the last `test_fraction` of every recording is test, the `valid_fraction` before
    it validation, the rest train, with `gap` samples left out between one block and the next.
    Neighbouring samples are alike, so windows drawn at random would put near copies of the
    training data into the test set. By `"recording"`, whole recordings are drawn.

    Args:
        data: Recordings, or an array `(T, C)` or `(N, T, C)`, or a list of such arrays.
        seq_len: Length `T` of a window, in samples.
        stride: Samples from the start of one window to the start of the next.
        valid_fraction: Share of the samples (or recordings) for validation, in `[0, 1)`.
        test_fraction: Share of the samples (or recordings) for test, in `[0, 1)`.
        gap: Samples between blocks; one window by default.
        by: `"time"` or `"recording"`.
        seed: Decides which recordings are drawn, with `by="recording"`.

    Returns:
        `Splits(train, valid, test)`.

    Raises:
        ValueError: if an argument cannot be used or a recording is too short.

    Example:

    >>> splits = split_datasets(np.zeros((1000, 3)), seq_len=50, test_fraction=0.2)
    >>> [(int(part.start.min()), int(part.start.max()) + 50) for part in splits]
    [(0, 580), (630, 750), (800, 1000)]
    """
    recordings = as_recordings(data)
    gap = seq_len if gap is None else gap
    _check_arguments(recordings, seq_len, stride, valid_fraction, test_fraction, gap, by)
    for recording in recordings:
        require_window(recording, seq_len)
    if by == "time":
        blocks = [
            time_blocks(recording, seq_len, valid_fraction, test_fraction, gap)
            for recording in recordings
        ]
    else:
        blocks = _recording_blocks(recordings, valid_fraction, test_fraction, seed)
    parts = []
    for part in range(3):
        starts = [
            window_starts(recording, seq_len, stride, *block[part])
            for recording, block in zip(recordings, blocks, strict=True)
        ]
        parts.append(Windows.from_starts(recordings, seq_len, starts))
    splits = Splits(*parts).verified()
    wanted = {"train": True, "valid": valid_fraction > 0, "test": test_fraction > 0}
    for name, part in splits._asdict().items():
        if wanted[name] and not len(part):
            raise ValueError(
                f"No window of {seq_len} samples fits into the {name} split. Shorten seq_len, "
                "set gap=0 or change the fractions."
            )
    return splits


def time_blocks(recording, seq_len, valid_fraction, test_fraction, gap):
    """`(start, stop)` of the train, validation and test block of one recording.

    Laid from the end: a block has its share of the samples, but at least one window, and the gap
    before it is taken from what remains.
    """
    stop = len(recording.values)
    blocks = []
    for fraction in (test_fraction, valid_fraction):
        size = max(round(fraction * len(recording.values)), seq_len) if fraction else 0
        blocks.append((stop - size, stop))
        stop -= size + gap if size else 0
    if stop < seq_len:
        raise ValueError(
            f"Recording '{recording.name}' has {len(recording.values)} samples, too few for "
            f"blocks of train, validation and test with windows of {seq_len} and gaps of {gap}. "
            "Shorten seq_len, set gap=0, split by='recording' or leave the recording out."
        )
    test, valid = blocks
    return (0, stop), valid, test


def _recording_blocks(recordings, valid_fraction, test_fraction, seed):
    """Like `time_blocks`, but a whole recording is in one split and the others get nothing."""
    count = len(recordings)
    sizes = [
        max(round(fraction * count), 1) if fraction else 0
        for fraction in (valid_fraction, test_fraction)
    ]
    if sum(sizes) >= count:
        raise ValueError(
            f"{count} recordings are too few to draw {sizes[0]} for validation and {sizes[1]} for "
            "test and keep one for training. Split by='time' or add recordings."
        )
    order = np.random.default_rng(seed).permutation(count)
    valid, test = order[: sizes[0]], order[sizes[0] : sum(sizes)]
    blocks = []
    for index, recording in enumerate(recordings):
        part = 1 if index in valid else 2 if index in test else 0
        whole = (0, len(recording.values))
        blocks.append([whole if i == part else (0, 0) for i in range(3)])
    return blocks


def _check_arguments(recordings, seq_len, stride, valid_fraction, test_fraction, gap, by):
    if not recordings:
        raise ValueError("There is no recording to split.")
    names = [recording.name for recording in recordings]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Several recordings are named '{repeated[0]}'. Give each file once, or rename one."
        )
    _check_channels(recordings)
    for name, value, least in (("seq_len", seq_len, 1), ("stride", stride, 1), ("gap", gap, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}.")
    for name, value in (("valid_fraction", valid_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}, expected a number in [0, 1).")
    if valid_fraction + test_fraction >= 1:
        raise ValueError(
            f"valid_fraction {valid_fraction} and test_fraction {test_fraction} leave nothing to "
            "train on. Keep their sum below 1."
        )
    if by not in ("time", "recording"):
        raise ValueError(f"by is {by!r}, expected 'time' or 'recording'.")


def _check_channels(recordings):
    first = recordings[0]
    for other in recordings[1:]:
        if other.channels != first.channels:
            missing = sorted(set(first.channels) - set(other.channels))
            added = sorted(set(other.channels) - set(first.channels))
            example = (missing + added + list(other.channels))[0]
            raise ValueError(
                f"Recordings '{first.name}' and '{other.name}' have different channels "
                f"({len(first.channels)} and {len(other.channels)}; '{example}' is not in both "
                "at the same place). Choose channels that all of them have."
            )
