"""Labels of the recordings of a run: channels of the same files, or what a file says of each."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.readers import read_recordings
from ceneurovae.recording import Recording
from ceneurovae.short import own_samples
from ceneurovae.splits import Splits
from ceneurovae.windows import Windows

# Labels with at most so many values are classes.
FEW_VALUES = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """A quantity or class at every sample of some recordings.

    Args:
        name: Its name.
        values: For each recording `(n,)`, float64, NaN where it is not known.
        classes: What the numbers 0, 1, ... stand for, where the file has texts.
    """

    name: str
    values: tuple[Array, ...]
    classes: tuple[str, ...] = ()

    @property
    def is_class(self) -> bool:
        """Whether it has a few distinct values only, or texts."""
        known = np.concatenate([np.unique(values) for values in self.values])
        return bool(self.classes) or len(np.unique(known[~np.isnan(known)])) <= FEW_VALUES

    def at_center(self, windows: Windows) -> Array:
        """Its value at the sample in the middle of each window, `(n,)`.

        Not its mean over the window: that is no class, and smoother than what was recorded, so
        that it would look easier to read than it is.
        """
        recording, start = windows.locate()
        middle = start + windows.seq_len // 2
        return np.array([self.values[r][t] for r, t in zip(recording, middle, strict=True)])


def read_labels(splits: Splits, names: Sequence[str]) -> list[Label]:
    """Reads labels of the recordings of `Splits` from their files.

    Args:
        splits: `Splits` of recordings that were read from files.
        names: Names of channels or of whole datasets, patterns, and names of labels of recordings
            or of windows, as `ceneurovae inspect` lists them.

    Returns:
        List of `Label`s: one for each channel that a name stands for.

    Raises:
        ValueError: if there is none of a name, or it was not sampled with the channels of the run,
            or it is the same or missing throughout.
    """
    recordings = splits.train.recordings
    found = []
    for name in names:
        if all(name in recording.labels for recording in recordings):
            found.append(_of_recordings(name, recordings))
        else:
            found += _of_channels(name, recordings)
    for label in found:
        known = np.concatenate(label.values)
        known = known[~np.isnan(known)]
        if not known.size or known.min() == known.max():
            what = f"is {known[0]:g}" if known.size else "is missing (NaN)"
            raise ValueError(
                f"Label '{label.name}' {what} throughout, so there is nothing to read from the "
                "latents. Leave it out."
            )
    return list({label.name: label for label in found}.values())


def _of_recordings(name: str, recordings: Sequence[Recording]) -> Label:
    """The `Label` that is one value for each recording, or one for each of its stretches."""
    given = [np.atleast_1d(recording.labels[name]) for recording in recordings]
    together = np.concatenate([values.astype(object) for values in given])
    classes = ()
    if any(isinstance(value, str) for value in together):
        classes = tuple(sorted({str(value) for value in together}))
    values = []
    for recording, own in zip(recordings, given, strict=True):
        lengths = np.diff(recording.stretches, axis=1)[:, 0]
        if classes:
            own = np.array([classes.index(str(value)) for value in own])
        if len(own) not in (1, len(lengths)):
            raise ValueError(
                f"Recording '{recording.name}' has {len(own)} labels '{name}' for {len(lengths)} "
                "windows. Mend the file."
            )
        own = np.broadcast_to(own.astype("float64"), len(lengths))
        values.append(np.repeat(own, lengths))
    return Label(name, tuple(values), classes)


def _of_channels(name: str, recordings: Sequence[Recording]) -> list[Label]:
    """The `Label`s of the channels that a name stands for."""
    reading = dict(recordings[0].reading)
    for used in ("align", "resample_hz"):
        reading.pop(used, None)
    columns: dict[str, dict[str, tuple[Recording, Array]]] = {}
    for path in dict.fromkeys(recording.path for recording in recordings):
        if path is None:
            raise ValueError(
                f"Label '{name}' is to be read from the files of the recordings, but they are "
                "arrays in memory. Give `Label`s, or train on files."
            )
        for labelled in read_recordings(path, [name], align="union", **reading):
            with labelled.opened() as stored:
                values = np.asarray(stored[:], dtype="float64")
            for channel, column in zip(labelled.channels, values.T, strict=True):
                columns.setdefault(channel, {})[labelled.name] = (labelled, column)
    return [
        Label(channel, tuple(_fitted(channel, r, found.get(r.name)) for r in recordings))
        for channel, found in columns.items()
    ]


def _fitted(channel: str, recording: Recording, found: tuple[Recording, Array] | None) -> Array:
    """A label `(n,)` at the samples of a recording, which may be resampled or filled up."""
    if found is None:
        return np.full(len(recording.values), np.nan)
    labelled, column = found
    if recording.filled_up:
        lengths = np.diff(recording.stretches, axis=1)[:, 0]
        filled = np.full(lengths.sum(), np.nan)
        places = own_samples(labelled, int(lengths.min()))
        if len(places) and places[-1] < len(filled):
            filled[places] = column
            return filled
    elif len(labelled.stretches) == len(recording.stretches) and recording.reach:
        return np.concatenate(
            [
                column[start:stop][_nearest(stop - start, length)]
                for (start, stop), length in zip(
                    labelled.stretches, np.diff(recording.stretches, axis=1)[:, 0], strict=True
                )
            ]
        )
    elif len(column) == len(recording.values):
        return column
    raise ValueError(
        f"Label '{channel}' has {len(column)} samples in recording '{recording.name}', which has "
        f"{len(recording.values)}. Choose a label that was sampled with the channels of the run."
    )


def _nearest(given: int, wanted: int) -> Array:
    """Which of `given` samples is nearest to each of `wanted` samples of the same time."""
    return np.minimum(np.round(np.arange(wanted) * given / wanted).astype(int), given - 1)
