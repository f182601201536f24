"""Recordings -> train, validation and test windows that share no sample."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from ceneurovae.hints import JSON, Array, Data
from ceneurovae.recording import Recording, as_recordings, check_names
from ceneurovae.short import SHORT, fill_short, without_short
from ceneurovae.windows import Windows, require_window, runs_between, window_runs

PARTS = ("train", "valid", "test")


class Splits(NamedTuple):
    """Three `Windows` over the same recordings; `test` is empty unless it was asked for."""

    train: Windows
    valid: Windows
    test: Windows

    def manifest(self) -> JSON:
        """What is in which split, as JSON types, enough to build the same splits again."""
        train = self.train
        return {
            "seq_len": train.seq_len,
            "channels": list(train.channels),
            "reading": train.recordings[0].reading,
            "recordings": [
                {
                    "name": recording.name,
                    "path": None if recording.path is None else str(recording.path),
                    "samples": len(recording.values),
                    "rate_hz": recording.rate_hz,
                    "filled_up": recording.filled_up,
                }
                for recording in train.recordings
            ],
            "splits": {name: windows.listed() for name, windows in self._asdict().items()},
        }

    @classmethod
    def from_manifest(cls, manifest: JSON, recordings: Sequence[Recording]) -> Self:
        """The inverse of `manifest`; what it says is taken as it is."""
        splits = manifest["splits"]
        return cls(
            *(
                Windows.from_listed(recordings, manifest["seq_len"], splits[name])
                for name in cls._fields
            )
        )

    def shared_samples(self) -> list[int]:
        """For each recording, how many samples are in windows of more than one split."""
        shared = []
        for index in range(len(self.train.recordings)):
            spans = np.concatenate([part.covered(index) for part in self])
            edges = np.concatenate([spans, np.full_like(spans, (1, -1))], axis=1)
            edges = edges.reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1, 2)  # (sample, +1 or -1)
            edges = edges[np.argsort(edges[:, 0], kind="stable")]
            depth = np.cumsum(edges[:, 1])[:-1]
            shared.append(int(np.diff(edges[:, 0])[depth > 1].sum()))
        return shared

    def joined(self) -> Windows:
        """Training and validation windows as one `Windows`, for a last fit.

        Also those of the gap between a recording's training and validation block, as far as they
        share no sample with the test windows.
        """
        train, valid, test = self
        runs = []
        for index, recording in enumerate(train.recordings):
            own = [part.runs[part.runs[:, 0] == index] for part in (train, valid)]
            held_out = test.covered(index)
            spans = np.concatenate([part.covered(index) for part in (train, valid)])
            steps = np.unique(np.concatenate(own)[:, 3])
            whole = spans[:, 0].min(initial=len(recording.values)), spans[:, 1].max(initial=0)
            apart = (held_out[:, 0] >= whole[1]) | (held_out[:, 1] <= whole[0])
            if all(map(len, own)) and len(steps) == 1 and apart.all():
                found = runs_between(recording, train.seq_len, int(steps[0]), *whole)
            else:
                found = np.concatenate(own)[:, 1:]
            runs.append(found)
        joined = Windows.from_runs(train.recordings, train.seq_len, runs)
        self._replace(train=joined, valid=valid.none()).verified()
        return joined

    def verified(self) -> Self:
        """Itself, after counting that no sample is in two splits.

        Raises:
            RuntimeError: if one is, which would be a defect of this package.
        """
        for recording, shared in zip(self.train.recordings, self.shared_samples(), strict=True):
            if shared:
                raise RuntimeError(
                    f"{shared} samples of recording '{recording.name}' are in two splits."
                )
        return self


def split_datasets(
    data: Data,
    seq_len: int,
    stride: int = 1,
    valid_fraction: float = 0.12,
    test_fraction: float = 0.0,
    gap: int | None = None,
    by: str | dict[str, str] | None = None,
    seed: int = 0,
    short: str = "error",
) -> Splits:
    """Splits recordings into train, validation and test windows that share no sample.

    By `"time"`, the last `test_fraction` of every recording is test, the `valid_fraction` before
    it validation, the rest train, with `gap` samples left out between one block and the next.
    Neighbouring samples are alike, so windows drawn at random would put near copies of the
    training data into the test set. By `"recording"`, whole recordings are drawn; by a label,
    such as `"animal"`, all that has the same value of it stays together.

    Args:
        data: Recordings, or an array `(T, C)` or `(N, T, C)`, or a list of such arrays.
        seq_len: Length `T` of a window, in samples.
        stride: Samples from the start of one window to the start of the next.
        valid_fraction: Share for validation: of each recording's time, or of the groups.
        test_fraction: Share for test, likewise.
        gap: Samples between blocks of time; one window by default.
        by: `"time"`, `"recording"`, the name of a label of the recordings, or a dictionary from
            the name of each recording to its group. By default the split that the file brings
            along, as those for LFADS do, and `"time"` where there is none.
        seed: Decides which recordings or groups are drawn.
        short: What becomes of stretches shorter than a window: `"error"` where a whole recording
            is too short, `"drop"` leaves such recordings out, `"pad"` fills up every such stretch
            with NaN at its end.

    Returns:
        `Splits(train, valid, test)`, each a `Windows`. A split that was not asked for is empty.

    Raises:
        ValueError: if an argument cannot be used or a recording is too short.

    Example:

    >>> splits = split_datasets(np.zeros((1000, 3)), seq_len=50, test_fraction=0.2)
    >>> [(int(part.start.min()), int(part.start.max()) + 50) for part in splits]
    [(0, 580), (630, 750), (800, 1000)]
    """
    recordings = as_recordings(data)
    gap = seq_len if gap is None else gap
    _check_arguments(recordings, seq_len, stride, valid_fraction, test_fraction, gap, short)
    own = all("split" in recording.labels for recording in recordings)
    by = ("split" if own else "time") if by is None else by
    fractions = {"valid": valid_fraction, "test": test_fraction}
    if short == "pad":
        recordings = [fill_short(recording, seq_len) for recording in recordings]
    if short == "drop":
        least = least_samples(seq_len, gap, fractions) if by == "time" else seq_len
        recordings = without_short(recordings, seq_len, least)
    for recording in recordings:
        require_window(recording, seq_len)
    if by == "time":
        runs = [_time_runs(r, seq_len, stride, fractions, gap) for r in recordings]
    else:
        runs = _group_runs(recordings, seq_len, stride, fractions, by, seed)
    splits = Splits(
        *(Windows.from_runs(recordings, seq_len, part) for part in zip(*runs, strict=True))
    ).verified()
    wanted = PARTS if by != "split" else ("train",)
    for name in wanted:
        if fractions.get(name, 1) > 0 and not len(getattr(splits, name)):
            raise ValueError(
                f"No window of {seq_len} samples fits into the {name} split. Shorten seq_len, "
                "set gap=0 or change the fractions."
            )
    return splits


def least_samples(seq_len: int, gap: int, fractions: dict[str, float]) -> int:
    """Samples that a recording needs for a window in each block of time."""
    blocks = 1 + sum(fraction > 0 for fraction in fractions.values())
    return blocks * seq_len + (blocks - 1) * gap


def time_blocks(
    recording: Recording, seq_len: int, fractions: dict[str, float], gap: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """`(start, stop)` of the train, validation and test block of one recording.

    Laid from the end: a block has its share of the samples, but at least one window, and the gap
    before it is taken from what remains.
    """
    stop = len(recording.values)
    blocks = []
    for name in ("test", "valid"):
        fraction = fractions[name]
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


def _time_runs(
    recording: Recording, seq_len: int, stride: int, fractions: dict[str, float], gap: int
) -> list[Array]:
    """The windows of a recording in each of the three parts, as runs."""
    if gap < recording.reach:
        raise ValueError(
            f"Recording '{recording.name}' was resampled: each sample was computed from up to "
            f"{recording.reach} on either side, so a gap of {gap} lets the splits share data. Set "
            f"gap={recording.reach} or more."
        )
    blocks = time_blocks(recording, seq_len, fractions, gap)
    return [runs_between(recording, seq_len, stride, *block) for block in blocks]


def _group_runs(
    recordings: Sequence[Recording],
    seq_len: int,
    stride: int,
    fractions: dict[str, float],
    by: str | dict[str, str],
    seed: int,
) -> list[list[Array]]:
    """Likewise for all recordings, where all that is in one group is in one part."""
    groups = [_groups(recording, by) for recording in recordings]
    names = sorted({name for part in groups for name in part}, key=_natural)
    part_of = _kept_split(names) if by == "split" else _drawn(names, fractions, by, seed)
    runs = []
    for recording, own in zip(recordings, groups, strict=True):
        if len(own) == 1:
            everything = runs_between(recording, seq_len, stride)
            home = part_of[own[0]]
            runs.append([everything if part == home else everything[:0] for part in PARTS])
        else:
            home = np.array([part_of[name] for name in own])
            runs.append(
                [window_runs(recording.stretches[home == part], seq_len, stride) for part in PARTS]
            )
    return runs


def _groups(recording: Recording, by: str | dict[str, str]) -> list[str]:
    """The group of a recording, as a list of one, or of each of its stretches."""
    if by == "recording":
        return [recording.name]
    if isinstance(by, dict):
        if recording.name not in by:
            raise ValueError(f"by has no group for recording '{recording.name}'.")
        return [str(by[recording.name])]
    if by not in recording.labels:
        known = ", ".join(["time", "recording", *recording.labels])
        raise ValueError(
            f"by is {by!r}, but recording '{recording.name}' has no such label. Known are {known}."
        )
    labels = np.atleast_1d(recording.labels[by])
    if len(labels) not in (1, len(recording.breaks) + 1):
        raise ValueError(
            f"Recording '{recording.name}' has {len(labels)} labels '{by}' for "
            f"{len(recording.breaks) + 1} windows. Mend the file."
        )
    return [str(label) for label in labels]


def _natural(name: str) -> tuple[int, float, str]:
    """Sorts numbers as numbers."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _kept_split(names: Sequence[str]) -> dict[str, str]:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise ValueError(f"The file names a split {unknown[0]!r}, expected one of {PARTS}.")
    return {name: name for name in names}


def _drawn(
    names: Sequence[str], fractions: dict[str, float], by: str | dict[str, str], seed: int
) -> dict[str, str]:
    """The part of each group, drawn from `seed`."""
    count = len(names)
    sizes = {
        part: max(round(fraction * count), 1) if fraction else 0
        for part, fraction in fractions.items()
    }
    if sum(sizes.values()) >= count:
        what = "recordings" if by == "recording" else "groups"
        raise ValueError(
            f"{count} {what} are too few to draw {sizes['valid']} for validation and "
            f"{sizes['test']} for test and keep one for training. Split by='time' or add {what}."
        )
    order = [names[index] for index in np.random.default_rng(seed).permutation(count)]
    parts = ["valid"] * sizes["valid"] + ["test"] * sizes["test"]
    parts += ["train"] * (count - len(parts))
    return dict(zip(order, parts, strict=True))


def _check_arguments(
    recordings: Sequence[Recording],
    seq_len: int,
    stride: int,
    valid_fraction: float,
    test_fraction: float,
    gap: int,
    short: str,
) -> None:
    if not recordings:
        raise ValueError("There is no recording to split.")
    check_names(recordings)
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
    if short not in SHORT:
        raise ValueError(f"short is {short!r}, expected one of {', '.join(SHORT)}.")


def _check_channels(recordings: Sequence[Recording]) -> None:
    first = recordings[0]
    for other in recordings[1:]:
        if other.channels != first.channels:
            missing = sorted(set(first.channels) - set(other.channels))
            added = sorted(set(other.channels) - set(first.channels))
            example = (missing + added + list(other.channels))[0]
            raise ValueError(
                f"Recordings '{first.name}' and '{other.name}' have different channels "
                f"({len(first.channels)} and {len(other.channels)}; '{example}' is not in both "
                "at the same place). Choose channels that all of them have, or align='union' to "
                "take what any has, with NaN where one lacks it, or align='intersection' to take "
                "what all have (--align)."
            )
