"""Labels of the recordings of a run: channels of the same files, or what a file says of each."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from ceneurovae.readers import ReadOptions, open_sources, read_recordings
from ceneurovae.readers.source import Source
from ceneurovae.recording import Recording
from ceneurovae.short import own_samples
from ceneurovae.splits import Splits
from ceneurovae.windows import Windows

# Labels with at most so many values are classes.
FEW_VALUES = 10
# A block with more channels than this is a population rather than a behaviour.
WIDEST = 8
# Channels beside those of a run that are looked for.
MOST_FOUND = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """A quantity or class at every sample of some recordings.

    Args:
        name: Its name.
        values: For each recording `(n,)`, NaN where it is not known.
        classes: What the numbers 0, 1, ... stand for, where the file has texts.
        is_channel: Whether it was recorded over time; otherwise the file says it of a recording or
            a window.
    """

    name: str
    values: tuple[np.ndarray, ...]
    classes: tuple[str, ...] = ()
    is_channel: bool = False

    @property
    def is_class(self) -> bool:
        """Whether it has a few distinct values only, or texts."""
        return bool(self.classes) or len(self.distinct) <= FEW_VALUES

    @property
    def distinct(self) -> np.ndarray:
        """Its distinct values, ascending."""
        known = np.unique(np.concatenate([np.unique(values) for values in self.values]))
        return known[~np.isnan(known)]

    def at(self, recording: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Its value, float64 `(n,)`, at samples of recordings, which are given by their number."""
        found = np.empty(len(samples))
        for index in np.unique(recording):
            rows = recording == index
            found[rows] = self.values[index][samples[rows]]
        return found

    def at_center(self, windows: Windows) -> np.ndarray:
        """Its value at the sample in the middle of each window, `(n,)`.

        Not its mean over the window: that is no class, and smoother than what was recorded, so
        that it would look easier to read than it is.
        """
        recording, start = windows.locate()
        return self.at(recording, start + windows.seq_len // 2)


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
    found: dict[str, Label] = {}
    for name in names:
        if _is_said_of(recordings, name):
            labels = [_of_recordings(name, recordings)]
        else:
            labels = _of_channels([name], recordings)
        found |= {label.name: label for label in labels}
    for label in found.values():
        known = label.distinct
        if len(known) < 2:
            what = f"is {known[0]:g}" if len(known) else "is missing (NaN)"
            raise ValueError(
                f"Label '{label.name}' {what} throughout, so there is nothing to read from the "
                "latents. Leave it out."
            )
    return list(found.values())


def find_labels(splits: Splits) -> list[Label]:
    """Reads what the files of `Splits` hold beside its channels, without being told names.

    That is at most 12 channels of blocks of at most 8, sampled together with the chosen ones,
    behaviour first, and then what the files say of recordings and windows, but for how the file
    splits them. What is the same or missing throughout is left out. Where the files cannot be
    read, there is a warning.
    """
    recordings = splits.train.recordings
    if any(recording.path is None for recording in recordings):
        return []
    said = [n for n in recordings[0].labels if n != "split" and _is_said_of(recordings, n)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when the files were read before
            names = _channels_beside(recordings)[:MOST_FOUND]
            found = _of_channels(names, recordings) if names else []
            found += [_of_recordings(name, recordings) for name in said]
    except ValueError as error:
        warnings.warn(f"The behaviour in the files is not shown: {error}", stacklevel=2)
        return []
    return [label for label in found if len(label.distinct) > 1]


def _channels_beside(recordings: Sequence[Recording]) -> list[str]:
    """Names of the channels of narrow blocks that all recordings have."""
    wanted = {recording.name for recording in recordings}
    options = ReadOptions(**_options(recordings))
    found = []
    for path in dict.fromkeys(recording.path for recording in recordings):
        with open_sources(path, options) as (_, sources):
            found += [
                _in_narrow_blocks(source, recordings[0].channels)
                for source in sources
                if source.name in wanted
            ]
    return [name for name in found[0] if all(name in names for names in found)]


def _in_narrow_blocks(source: Source, channels: tuple[str, ...]) -> list[str]:
    """Channels of the narrow blocks of a source as long as the chosen ones; behaviour first."""
    selection = source.select(channels)
    behaviour = source.short_names.get("behavior", ())
    blocks = [
        block
        for block in source.blocks
        if len(block.channels) <= WIDEST
        and block.name not in source.labels
        and (block.samples, block.window_len) == (selection.shape[0], selection.window_len)
        and (block.rate_hz or source.rate_hz) == selection.rate_hz
    ]
    blocks.sort(key=lambda block: block.name not in behaviour)
    return [name for block in blocks for name in block.channels]


def _is_said_of(recordings: Sequence[Recording], name: str) -> bool:
    """Whether a name is that of a label of all recordings."""
    return all(name in recording.labels for recording in recordings)


def _options(recordings: Sequence[Recording]) -> dict:
    """The fields of `ReadOptions` with which recordings were read."""
    reading = recordings[0].reading
    return {k: v for k, v in reading.items() if k not in ("align", "resample_hz")}


def _of_recordings(name: str, recordings: Sequence[Recording]) -> Label:
    """The `Label` that is one value for each recording, or one for each of its stretches."""
    given = [np.atleast_1d(recording.labels[name]) for recording in recordings]
    together = np.concatenate([values.astype(object) for values in given])
    classes: tuple[str, ...] = ()
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


def _of_channels(names: Sequence[str], recordings: Sequence[Recording]) -> list[Label]:
    """The `Label`s of the channels that names stand for."""
    columns: dict[str, dict[str, tuple[Recording, np.ndarray]]] = {}
    for path in dict.fromkeys(recording.path for recording in recordings):
        for labelled in read_recordings(path, names, align="union", **_options(recordings)):
            with labelled.opened() as stored:
                values = stored[:]
            for channel, column in zip(labelled.channels, values.T, strict=True):
                columns.setdefault(channel, {})[labelled.name] = (labelled, column)
    return [
        Label(
            channel,
            tuple(_fitted(channel, r, found.get(r.name)) for r in recordings),
            is_channel=True,
        )
        for channel, found in columns.items()
    ]


def _fitted(
    channel: str, recording: Recording, found: tuple[Recording, np.ndarray] | None
) -> np.ndarray:
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


def _nearest(given: int, wanted: int) -> np.ndarray:
    """Which of `given` samples is nearest to each of `wanted` samples of the same time."""
    return np.minimum(np.round(np.arange(wanted) * given / wanted).astype(int), given - 1)
