"""What is wrong with values that were recorded, and what to do about it. Needs NumPy only.

Every check takes plain arrays and gives a `Finding` or `None`. NaN means missing everywhere.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ceneurovae.hints import Array

# Neighbours in time correlate by more than this in what was sampled fast enough to be a series,
SMOOTH = 0.5
# and by this much more than along the other axis: bodies are smooth along their segments too.
SMOOTHER = 0.3
# Z-scoring leaves a mean of 0 and a deviation of 1 up to rounding. Other values that happen to be
# near are off by about 1 / sqrt(T), of which a tenth is allowed.
SCORED_WITHIN = 1e-3
SCORED_OF_CHANCE = 0.1
# A few columns that were added, dead or clipped after z-scoring do not hide the rest.
SCORED_SHARE = 0.9
# Spikes of a calcium trace reach about 10 robust deviations; 20 is an artefact or a wrong unit.
OUTLIER_DEVIATIONS = 20
# What is beyond more often is how the channel is distributed: still most of the time, say.
OUTLIER_SHARE = 0.05
# The median absolute deviation of a normal distribution is its standard deviation over this.
MAD_TO_STD = 1.4826
# Cameras and microscopes keep time to some per cent; half an interval is a lost or late sample.
UNEVEN_INTERVAL = 0.5
UNEVEN_SHARE = 0.01
# Windows that run over a gap of several samples join what does not belong together.
GAP_INTERVALS = 5
# Rates from timestamps and from what the file says differ by rounding only.
RATE_WITHIN = 0.01
# A shift as large as what a channel does within a fifth of the recording is what the model cannot
# know of the held-out end from the beginning.
DRIFT_DEVIATIONS = 1.0
# Slow signals wander by chance, by so many standard errors of a mean that are hardly ever reached.
DRIFT_ERRORS = 5.0
FEW_INDEPENDENT = 20
# A shorter window is no remedy: it shows hardly any dynamics.
SHORTEST_WINDOW = 8
# Fewer samples in a fifth say nothing about it.
DRIFT_LEAST = 20
LISTED = 4


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong, or should be known, before a model is trained.

    Args:
        code: Kind of finding, in kebab-case.
        message: What was found and what to do, in one or two sentences.
        channels: Names of the channels it is about; empty where it is about the recording.
    """

    code: str
    message: str
    channels: tuple[str, ...] = ()


def diagnose_values(
    values: Array,
    channels: Sequence[str],
    window_len: int | None = None,
    complete: bool = True,
    can_transpose: bool = True,
) -> list[Finding]:
    """What is wrong with the values of one block of channels.

    Args:
        values: `(T, C)`, all samples or, in order, some of them.
        channels: `C` names.
        window_len: Length of the windows that the samples are, or `None` if they are a recording.
        complete: Whether these are all samples.
        can_transpose: Whether the reader can be told to swap the axes.

    Returns:
        List of `Finding`s. Where the axes are swapped, nothing else is looked for.
    """
    swapped = transposed_axes(values, channels, window_len, can_transpose)
    if swapped:
        return [swapped]
    series = np.array(values.T, dtype="float64", order="C")
    infinite = np.isinf(series)
    found = [infinite_values(infinite, channels)]
    series[infinite] = np.nan
    found += [
        all_missing(series, channels),
        constant_channels(series, channels),
        already_z_scored(series, channels) if complete else None,
        outliers(series, channels),
        slow_drift(series, channels),
    ]
    return [finding for finding in found if finding]


def transposed_axes(
    values: Array,
    channels: Sequence[str],
    window_len: int | None = None,
    can_transpose: bool = True,
) -> Finding | None:
    """Fewer samples than channels, and smooth along the channels rather than along time."""
    steps = window_len or len(values)
    if steps >= len(channels):
        return None
    values = np.where(np.isfinite(values), values, np.nan).astype("float64")
    values = values.reshape(-1, steps, len(channels))
    along_time = _neighbour_correlation(values, axis=1)
    along_channels = _neighbour_correlation(values, axis=2)
    if along_channels < max(SMOOTH, along_time + SMOOTHER):
        return None
    remedy = (
        "pass transpose=True (--transpose)" if can_transpose else "write the file with time first"
    )
    return Finding(
        "transposed-axes",
        f"{steps} samples of {len(channels)} channels change more smoothly from channel to "
        f"channel (correlation {along_channels:.2f}) than from sample to sample "
        f"({along_time:.2f}): the axes of time and channels seem swapped. If so, {remedy}.",
    )


def infinite_values(infinite: Array, channels: Sequence[str]) -> Finding | None:
    """Infinite values, which cannot be read; `infinite` is boolean, `(C, T)`."""
    count = infinite.sum(axis=1)
    return _about(
        "infinite",
        count > 0,
        channels,
        lambda which: (
            f"{which} infinite in {_samples(count.sum())}. Replace them by NaN, which means "
            "missing, or leave the channels out."
        ),
    )


def all_missing(series: Array, channels: Sequence[str]) -> Finding | None:
    """Channels `(C, T)` in which nothing was observed."""
    return _about(
        "all-missing",
        np.isnan(series).all(axis=1),
        channels,
        lambda which: (
            f"{which} missing (NaN) throughout. Leave it out: name the others, or use a pattern, "
            "which skips it."
        ),
    )


def constant_channels(series: Array, channels: Sequence[str]) -> Finding | None:
    """Channels `(C, T)` that never change."""
    return _about(
        "constant-channel",
        _constant(series),
        channels,
        lambda which: (
            f"{which} constant: dead, or never recorded. It teaches a model nothing; name the "
            "other channels to leave it out."
        ),
    )


def already_z_scored(series: Array, channels: Sequence[str]) -> Finding | None:
    """Nearly all of several channels `(C, T)` with mean 0 and standard deviation 1."""
    varied = ~_constant(series) & ((~np.isnan(series)).sum(axis=1) > 1)
    if varied.sum() < 2:
        return None
    observed = ~np.isnan(series[varied])
    count = observed.sum(axis=1)
    mean = np.sum(series[varied], axis=1, where=observed) / count
    square = np.sum((series[varied] - mean[:, None]) ** 2, axis=1, where=observed)
    within = np.minimum(SCORED_WITHIN, SCORED_OF_CHANCE / np.sqrt(count))
    scored = np.abs(mean) < within
    scored &= np.any([np.abs(np.sqrt(square / n) - 1) < within for n in (count, count - 1)], axis=0)
    if scored.mean() < SCORED_SHARE:
        return None
    chosen = np.flatnonzero(varied)[scored]
    return Finding(
        "already-z-scored",
        f"{len(chosen)} of {len(channels)} channels ({_listed(channels, chosen)}) have mean 0 and "
        "standard deviation 1: z-scored over the whole recording, so that their scale knows the "
        "test data. Store raw values; the model scales them by the training data.",
        tuple(channels[i] for i in chosen.tolist()),
    )


def outliers(series: Array, channels: Sequence[str]) -> Finding | None:
    """Samples of `(C, T)` far from the median, in units of the robust standard deviation."""
    median = _medians(series)
    distance = np.abs(series - median[:, None])
    scale = MAD_TO_STD * _medians(distance)
    limit = np.where(scale > 0, OUTLIER_DEVIATIONS * scale, np.inf)
    beyond = (distance > limit[:, None]).sum(axis=1)
    some = (beyond > 0) & (beyond <= OUTLIER_SHARE * (~np.isnan(series)).sum(axis=1))
    furthest = np.zeros(len(series))
    furthest[some] = np.nanmax(distance[some], axis=1) / scale[some]
    return _about(
        "outliers",
        some,
        channels,
        lambda which: (
            f"{which} beyond {OUTLIER_DEVIATIONS} robust standard deviations from the median in "
            f"{_samples(beyond[some].sum())} (up to {furthest.max():.3g}). If they are artefacts, "
            "replace them by NaN; if not, train with --reconstruction-loss huber."
        ),
    )


def slow_drift(series: Array, channels: Sequence[str]) -> Finding | None:
    """A trend of `(C, T)` from the first to the last fifth, larger than what happens in a fifth."""
    if series.shape[1] < 5 * DRIFT_LEAST:
        return None
    fifths = np.array_split(series, 5, axis=1)
    counts = np.stack([(~np.isnan(part)).sum(axis=1) for part in fifths], axis=1)
    enough = (counts >= DRIFT_LEAST).all(axis=1) & ~_constant(series)
    if not enough.any():
        return None
    first, last = fifths[0][enough], fifths[-1][enough]
    shift = np.abs(np.nanmean(last, axis=1) - np.nanmean(first, axis=1))
    inside = np.sqrt((np.nanvar(first, axis=1) + np.nanvar(last, axis=1)) / 2)
    drifts = shift > DRIFT_DEVIATIONS * inside
    error = _error_of_mean(series[np.flatnonzero(enough)[drifts]])
    drifts[drifts] = shift[drifts] > DRIFT_ERRORS * np.sqrt(2) * error
    chosen = np.zeros(len(channels), dtype=bool)
    chosen[np.flatnonzero(enough)[drifts]] = True
    return _about(
        "slow-drift",
        chosen,
        channels,
        lambda which: (
            f"{which} drifting: the means of the first and last fifth differ by more than the "
            "standard deviation within them. Held-out time will look unlike training time: "
            "detrend, correct for bleaching, or split by recording (--by recording)."
        ),
    )


def duplicated_channels(digests: dict[str, bytes]) -> Finding | None:
    """Channels with the same values; `digests` is a dictionary from names to `digest`s."""
    alike: dict[bytes, list[str]] = {}
    for channel, value in digests.items():
        alike.setdefault(value, []).append(channel)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups:
        return None
    channels = tuple(channel for group in groups for channel in group)
    listed = "; ".join(" = ".join(_few(group)) for group in groups[:LISTED])
    more = f"; and {len(groups) - LISTED} more" if len(groups) > LISTED else ""
    return Finding(
        "duplicated-channels",
        f"Channels hold the same values: {listed}{more}. Choose one of each, else it counts twice.",
        channels,
    )


def channel_digests(values: Array, channels: Sequence[str]) -> dict[str, bytes]:
    """A digest of each channel of `values` `(T, C)` that changes, by name."""
    series = np.array(values.T, dtype="float32", order="C") + 0  # -0 becomes 0
    changes = ~_constant(series) & ~np.isnan(series).all(axis=1)
    series[np.isnan(series)] = np.nan  # one NaN of the many that there are
    return {
        channels[i]: hashlib.blake2b(series[i], digest_size=16).digest()
        for i in np.flatnonzero(changes).tolist()
    }


def diagnose_timestamps(
    times: Array, samples: int, rate_hz: float | None = None, breaks: Sequence[int] | Array = ()
) -> list[Finding]:
    """What is wrong with the times of samples.

    Args:
        times: `(n,)` in seconds.
        samples: Number of samples of the recording.
        rate_hz: Samples per second that the file declares, or `None`.
        breaks: Samples at which a new stretch begins, where a gap is known.

    Returns:
        List of `Finding`s.
    """
    found: list[Finding | None] = []
    if len(times) != samples:
        found.append(
            Finding(
                "timestamps-length",
                f"{len(times)} timestamps for {samples} samples: they cannot be matched one by "
                "one. Mend the file; until then only the rate is taken from the timestamps.",
            )
        )
    intervals = np.diff(np.asarray(times, dtype="float64"))
    known = np.isfinite(intervals)
    if len(times) == samples and len(breaks):
        known[np.asarray(breaks, dtype="int64") - 1] = False
    if known.any():
        found += [_uneven(intervals, known), _rate_mismatch(intervals[known], rate_hz)]
    return [finding for finding in found if finding]


def _uneven(intervals: Array, known: Array) -> Finding | None:
    median = np.median(intervals[known])
    if not median > 0:
        return Finding(
            "uneven-timestamps",
            f"The median interval of the timestamps is {median:.4g} s, expected a positive one. "
            "Mend the timestamps.",
        )
    odd = known & (np.abs(intervals - median) > UNEVEN_INTERVAL * median)
    gaps = np.flatnonzero(known & (intervals > GAP_INTERVALS * median))
    if odd.sum() <= UNEVEN_SHARE * known.sum() and not len(gaps):
        return None
    longest = int(np.argmax(np.where(known, intervals, -np.inf)))
    return Finding(
        "uneven-timestamps",
        f"{odd.sum()} of {known.sum()} intervals differ from their median of {median:.4g} s by "
        f"more than half; {len(gaps)} are gaps, the longest {intervals[longest]:.4g} s after "
        f"sample {longest}. Samples are taken as evenly spaced: interpolate to even times, and "
        "store what is before and after a gap as recordings of their own.",
    )


def _rate_mismatch(intervals: Array, rate_hz: float | None) -> Finding | None:
    median = np.median(intervals)
    if not rate_hz or not median > 0 or abs(median * rate_hz - 1) <= RATE_WITHIN:
        return None
    return Finding(
        "rate-mismatch",
        f"The timestamps are {median:.4g} apart, which is {1 / median:.4g} Hz if they are in "
        f"seconds, but the file says {rate_hz:.4g} Hz. Mend whichever is wrong, or their unit.",
    )


def interruption(samples: int, breaks: Sequence[int] | Array) -> Finding | None:
    """Known interruptions of a recording of `samples`; a new stretch begins at each of `breaks`."""
    if not len(breaks):
        return None
    lengths = np.diff([0, *breaks, samples])
    listed = ", ".join(str(sample) for sample in breaks[:LISTED])
    return Finding(
        "interruption",
        f"A new stretch begins at sample {listed}{' ...' if len(breaks) > LISTED else ''}; the "
        f"shortest of {len(lengths)} has {lengths.min()} samples. No window crosses from one to "
        "the next, so keep the window (--seq-len) shorter than the stretches.",
    )


def too_short(
    samples: int, longest: int, seq_len: int, window_len: int | None = None, by_time: bool = True
) -> Finding | None:
    """A recording that windows of `seq_len` do not fit into.

    Args:
        samples: Length of the recording.
        longest: Length of its longest uninterrupted stretch.
        seq_len: Length of the windows.
        window_len: Length of the windows that the file holds, or `None`.
        by_time: Whether each recording is to be split into training, validation and test.
    """
    least = 5 * seq_len if by_time else seq_len  # three windows, and two gaps of one
    if longest >= seq_len and samples >= least:
        return None
    if longest < seq_len:
        what = f"The longest stretch of {longest} samples is shorter than a window of {seq_len}"
    elif window_len:
        what = f"{samples // window_len} windows are fewer than the 5"
        what += " that train, validation, test and the gaps between need"
    else:
        what = f"{samples} samples are fewer than the {least} that train, validation and test in"
        what += f" windows of {seq_len} need, with gaps of one window"
    shorter = min(longest, samples // 5)
    if window_len:
        remedy = "Pass --gap 0, or split by recording (--by recording)."
    elif shorter >= SHORTEST_WINDOW:
        remedy = f"Pass --seq-len {shorter} or less, or split by recording (--by recording)."
    else:
        remedy = "Split by recording (--by recording) and fill up what is short (--short pad)."
    return Finding("too-short", f"{what}. {remedy}")


def sorted_labels(name: str, labels: Array) -> Finding | None:
    """Labels of windows, an array, that stand in ascending or descending order."""
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    distinct = len(changes) + 1
    if not 1 < distinct <= len(labels) / 2 or len(np.unique(labels)) != distinct:
        return None
    return Finding(
        "sorted-labels",
        f"The windows are sorted by '{name}', {distinct} values in turn. Split by time, the "
        "windows for test have other values than those for training: store them in random order.",
    )


def _about(
    code: str, chosen: Any, channels: Sequence[str], sentence: Callable[[str], str]
) -> Finding | None:
    """The finding about the channels where `chosen` `(C,)` is true, or `None` if it is nowhere."""
    chosen = np.flatnonzero(chosen)
    if not len(chosen):
        return None
    if len(chosen) == 1:
        which = f"Channel {channels[chosen[0]]} is"
    else:
        which = f"{len(chosen)} of {len(channels)} channels ({_listed(channels, chosen)}) are"
    return Finding(code, sentence(which), tuple(channels[i] for i in chosen.tolist()))


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _listed(channels: Sequence[str], chosen: Array) -> str:
    return ", ".join(_few([channels[i] for i in chosen[: LISTED + 1].tolist()]))


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:LISTED], "..."] if len(names) > LISTED else list(names)


def _constant(series: Array) -> Array:
    """Which rows of `(C, T)` have at least two observed values, all the same."""
    observed = ~np.isnan(series)
    low = np.min(series, axis=1, where=observed, initial=np.inf)
    high = np.max(series, axis=1, where=observed, initial=-np.inf)
    return (low == high) & (observed.sum(axis=1) > 1)


def _medians(series: Array) -> Array:
    """Median of the observed values of each row of `(C, T)`; NaN where there is none."""
    ordered = np.sort(series, axis=1)  # NaN last
    count = (~np.isnan(series)).sum(axis=1)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(series.T) - 1)])
    return np.take_along_axis(ordered, middle.T, axis=1).mean(axis=1)


def _neighbour_correlation(values: Array, axis: int) -> float:
    """Median correlation of neighbours along an axis of `(N, T, C)`, 0 where there are none."""
    if values.shape[axis] < 2:
        return 0.0
    # Channels have one mean for all windows: short windows have no mean of their own.
    over = (0, 1) if axis == 1 else 2
    observed = ~np.isnan(values)
    count = np.maximum(observed.sum(axis=over, keepdims=True), 1)
    mean = np.sum(values, axis=over, keepdims=True, where=observed) / count
    centred = np.moveaxis(np.where(observed, values - mean, 0), axis, -1)
    power = (centred**2).sum(axis=-1)
    product = (centred[..., 1:] * centred[..., :-1]).sum(axis=-1)
    varied = power > 1e-12 * max(float(power.max()), np.finfo("float64").tiny)
    return float(np.median(product[varied] / power[varied])) if varied.any() else 0.0


def _error_of_mean(series: Array) -> Array:
    """Standard error of the mean of a fifth of each row of `(C, T)`, around its slow trend.

    Neighbouring samples are alike, so that it is that of as many samples as are independent: `T`
    over the sum of the autocorrelation up to where it first falls to zero. Where that leaves few,
    the error is itself uncertain, and is taken to be larger.
    """
    observed = ~np.isnan(series)
    count = observed.sum(axis=1)
    rest = np.where(observed, series - np.nanmean(series, axis=1, keepdims=True), 0)
    trends, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, series.shape[1]), 3))
    rest = np.where(observed, rest - rest @ trends @ trends.T, 0)
    spectrum = np.fft.rfft(rest, 2 * series.shape[1], axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : series.shape[1]]
    power = np.maximum(products[:, 0], np.finfo("float64").tiny)
    positive = np.logical_and.accumulate(products > 0, axis=1)
    alike = np.maximum(2 * (products * positive).sum(axis=1) / power - 1, 1)
    independent = count / alike
    return np.sqrt(power / count * 5 / independent) * (1 + FEW_INDEPENDENT / independent)
