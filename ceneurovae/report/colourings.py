"""What the points of a report can be coloured by."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ceneurovae.labels import Label
from ceneurovae.recording import Recording
from ceneurovae.report.shown_windows import ShownWindows

# Classes that can be told apart by colour.
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


def colourings(
    shown: ShownWindows, recordings: Sequence[Recording], labels: Sequence[Label]
) -> tuple[Colouring, ...]:
    """What the points of `ShownWindows` can be coloured by, at the middle of each window.

    Args:
        shown: `ShownWindows`.
        recordings: The `Recording`s that the windows are of.
        labels: `Label`s of these.

    Returns:
        Tuple of `Colouring`s: the time, channels among the labels, the recording where there are
        several, and other labels.
    """
    rate = recordings[0].rate_hz
    name = "time (s)" if rate else "time (samples)"
    found: list[Colouring | None] = [Colouring(name, shown.middle / (rate or 1.0))]
    found += [_of_label(label, shown) for label in labels if label.is_channel]
    several = np.unique(shown.recording)
    if 1 < len(several) <= MOST_CATEGORIES:
        places = np.searchsorted(several, shown.recording).astype("float64")
        found.append(Colouring("recording", places, tuple(shown.names[n] for n in several)))
    found += [_of_label(label, shown) for label in labels if not label.is_channel]
    return tuple(c for c in found if c is not None and not np.isnan(c.values).all())


def _of_label(label: Label, shown: ShownWindows) -> Colouring | None:
    """The `Colouring` by a label, `None` for names that are too many to tell apart."""
    values = label.at(shown.recording, shown.middle)
    if not label.is_class:
        return Colouring(label.name, values)
    names = label.classes or tuple(f"{value:g}" for value in label.distinct)
    if len(names) > MOST_CATEGORIES:
        return None
    if not label.classes:
        values = np.where(np.isnan(values), np.nan, np.searchsorted(label.distinct, values))
    return Colouring(label.name, values, names)
