"""What a run's files hold beside the channels it was trained on, to colour its latents by."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ceneurovae.hints import JSON, Array
from ceneurovae.import_data import reading_of
from ceneurovae.readers import ReadOptions, open_sources, read_alike
from ceneurovae.readers.source import Source
from ceneurovae.recording import Recording
from ceneurovae.short import fill_short

if TYPE_CHECKING:
    from ceneurovae.report.shown_windows import ShownWindows

# A block with more channels than this is a population rather than a behaviour.
WIDEST, MOST = 8, 12
# Text with more distinct values than this is no category.
MOST_CATEGORIES = 12


@dataclasses.dataclass(frozen=True)
class Colouring:
    """A quantity with a value for each of `n` points.

    Args:
        name: Its name, with its unit where that is known.
        values: `(n,)`, NaN where it is not known; indices into `categories`, if there are any.
        categories: Names, or `None` for a number.
    """

    name: str
    values: np.ndarray
    categories: tuple[str, ...] | None = None


class Behaviour:
    """Channels of narrow blocks that were recorded together with those of a run.

    Args:
        manifest: Manifest of the run's splits.
    """

    def __init__(self, manifest: JSON) -> None:
        self.names: tuple[str, ...] = ()
        self._recordings: dict[str, Recording] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said when the files were read before
                names = _candidates(manifest)[:MOST]
                if names:
                    self._read(manifest, names)
        except ValueError as error:
            warnings.warn(f"The behaviour in the files is not shown: {error}", stacklevel=2)

    def _read(self, manifest: JSON, names: Sequence[str]) -> None:
        paths = list(dict.fromkeys(recording["path"] for recording in manifest["recordings"]))
        filled = {r["name"] for r in manifest["recordings"] if r.get("filled_up")}
        for recording in read_alike(paths, names, reading_of(manifest)):
            if recording.name in filled:
                recording = fill_short(recording, manifest["seq_len"])
            self._recordings[recording.name] = recording
        self.names = tuple(names)

    def at(self, recording: str, samples: Array) -> Array:
        """Values `(n, B)` of the `B` channels at samples of a recording, by its name."""
        if not self.names:
            return np.empty((len(samples), 0))
        with self._recordings[recording].opened() as values:
            return np.stack([values[sample : sample + 1][0] for sample in samples])


def _candidates(manifest: JSON) -> list[str]:
    """Names of the channels of narrow blocks that all recordings have."""
    wanted = {recording["name"] for recording in manifest["recordings"]}
    reading = reading_of(manifest)
    options = {k: v for k, v in reading.items() if k not in ("align", "resample_hz")}
    found = []
    for path in dict.fromkeys(recording["path"] for recording in manifest["recordings"]):
        with open_sources(path, ReadOptions(**options)) as (_, sources):
            found += [
                _narrow(source, manifest["channels"]) for source in sources if source.name in wanted
            ]
    return [name for name in found[0] if all(name in names for names in found)]


def _narrow(source: Source, channels: Sequence[str]) -> list[str]:
    """Channels of the narrow blocks of a `Source` as long as the chosen ones; behaviour first."""
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


def colourings(
    shown: "ShownWindows", recordings: Sequence[Recording], behaviour: Behaviour
) -> tuple[Colouring, ...]:
    """What the points of `ShownWindows` can be coloured by, at the middle of each window.

    Args:
        shown: `ShownWindows`.
        recordings: The `Recording`s that the windows are of.
        behaviour: `Behaviour`.

    Returns:
        Tuple of `Colouring`s: the time, behaviour, the recording where there are several, and
        labels that the files give to recordings or trials.
    """
    rate = recordings[0].rate_hz
    name = "time (s)" if rate else "time (samples)"
    found: list[Colouring | None] = [Colouring(name, shown.middle / (rate or 1.0))]
    values = np.empty((len(shown.start), len(behaviour.names)))
    for index in np.unique(shown.recording):
        rows = shown.recording == index
        values[rows] = behaviour.at(recordings[index].name, shown.middle[rows])
    found += [Colouring(n, column) for n, column in zip(behaviour.names, values.T, strict=True)]
    if len(np.unique(shown.recording)) > 1:
        found.append(_categories("recording", [shown.names[n] for n in shown.recording]))
    for label in recordings[0].labels:
        if label != "split" and all(label in item.labels for item in recordings):
            found.append(_categories(label, _labels(label, shown, recordings)))
    return tuple(c for c in found if c is not None and not np.isnan(c.values).all())


def _labels(label: str, shown: "ShownWindows", recordings: Sequence[Recording]) -> list[Any]:
    """The value of a label for each window: that of its recording, or of its stretch."""
    found = []
    for index, start in zip(shown.recording, shown.start, strict=True):
        values = np.atleast_1d(recordings[index].labels[label])
        stretch = np.searchsorted(recordings[index].breaks, start, side="right")
        found.append(values[stretch] if len(values) > 1 else values[0])
    return found


def _categories(name: str, values: Sequence[Any]) -> Colouring | None:
    """The `Colouring` of names or numbers, `None` for names that are too many to tell apart."""
    names = sorted({str(value) for value in values})
    if len(names) <= MOST_CATEGORIES:
        places = {name: place for place, name in enumerate(names)}
        numbers = np.array([places[str(value)] for value in values], dtype="float64")
        return Colouring(name, numbers, tuple(names))
    try:
        return Colouring(name, np.array(values, dtype="float64"))
    except ValueError:
        return None
