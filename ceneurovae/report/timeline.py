"""When the recordings of a run were train, validation and test data, and what is missing when."""

import dataclasses

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.recording import Recording
from ceneurovae.splits import PARTS, Splits

# Stretches of time that a recording is told in, and the samples of each that are looked at.
BINS = 1000
SAMPLES_PER_BIN = 64


@dataclasses.dataclass(frozen=True)
class RecordingTimeline:
    """One recording of a run.

    Args:
        name: Its name.
        path: Its file.
        samples: Its length.
        rate_hz: Samples per second, or `None`.
        windows: Number of windows in each of `train`, `valid` and `test`.
        missing: Share of its values that is missing.
        spans: `(part, first, last)`, where it was train, validation or test data, in samples.
        edges: `(n + 1,)`, ends of stretches of time, in samples.
        missing_in: `(n,)`, share of the values of each stretch that is missing.
    """

    name: str
    path: str
    samples: int
    rate_hz: float | None
    windows: dict[str, int]
    missing: float
    spans: tuple[tuple[str, int, int], ...]
    edges: np.ndarray
    missing_in: np.ndarray


def describe_recordings(splits: Splits) -> tuple[RecordingTimeline, ...]:
    """A `RecordingTimeline` for each recording of `Splits`."""
    return tuple(_describe(splits, index) for index in range(len(splits.train.recordings)))


def _describe(splits: Splits, index: int) -> RecordingTimeline:
    recording = splits.train.recordings[index]
    samples = len(recording.values)
    edges = np.linspace(0, samples, min(samples, BINS) + 1).astype("int64")
    missing_in, counts = _missing(recording, edges)
    return RecordingTimeline(
        name=recording.name,
        path=str(recording.path),
        samples=samples,
        rate_hz=recording.rate_hz,
        windows={
            name: int(windows.runs[windows.runs[:, 0] == index, 2].sum())
            for name, windows in splits._asdict().items()
        },
        missing=float(np.average(missing_in, weights=counts)),
        spans=_spans(part_at(splits, index, (edges[:-1] + edges[1:]) // 2), edges),
        edges=edges,
        missing_in=missing_in,
    )


def _missing(recording: Recording, edges: Array) -> tuple[Array, Array]:
    """Share of each stretch that is missing, and how many samples were looked at."""
    counts = np.minimum(np.diff(edges), SAMPLES_PER_BIN)
    shares = np.empty(len(counts))
    with recording.opened() as values:
        for n, (start, count) in enumerate(zip(edges[:-1], counts, strict=True)):
            shares[n] = np.isnan(values[start : start + count]).mean()
    return shares, counts


def part_at(splits: Splits, index: int, samples: Array) -> Array:
    """What samples of a recording are in: indices into `PARTS`, -1 for none, `(n,)`."""
    found = np.full(len(samples), -1)
    for number, windows in enumerate(splits):
        spans = windows.covered(index)
        if len(spans):
            at = np.searchsorted(spans[:, 0], samples, side="right") - 1
            inside = (at >= 0) & (samples < spans[at, 1])
            found[inside] = number
    return found


def _spans(parts: Array, edges: Array) -> tuple[tuple[str, int, int], ...]:
    """Neighbouring stretches of the same part as one: `(part, first, last)`."""
    begin = np.flatnonzero(np.diff(parts, prepend=-2))
    end = np.append(begin[1:], len(parts))
    return tuple(
        (PARTS[parts[a]], int(edges[a]), int(edges[b]))
        for a, b in zip(begin, end, strict=True)
        if parts[a] >= 0
    )
