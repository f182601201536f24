"""One rate for recordings that were sampled at different ones; NaN stays missing."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from ceneurovae.hints import Array
from ceneurovae.recording import Recording

# scipy.signal.resample_poly filters with 10 samples of the slower of the two rates on each side.
HALF_LENGTH = 10
LARGEST_FACTOR = 1000
LEAST_WEIGHT = 0.4  # of the filter, on observed samples


def resampled(recording: Recording, rate_hz: float) -> Recording:
    """`recording` at `rate_hz` samples per second.

    Each stretch is filtered by itself, against aliasing. Missing values do not spread: the filter
    runs over the observed values and over where they were, and one is divided by the other
    (Knutsson & Westin, "Normalized and differential convolution", 1993); where most of what a
    sample would be made of was not observed, it is missing. The edges of a stretch are treated
    alike, so that no sample depends on others than those the filter reaches.

    Raises:
        ValueError: if the rate of the recording is not known or it is larger than memory.
    """
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"resample_hz is {rate_hz!r}, expected a number above 0.")
    if recording.rate_hz is None:
        raise ValueError(
            f"The rate of recording '{recording.name}' is not known, so it cannot be resampled to "
            f"{rate_hz:.4g} Hz. Write sampling_rate into the file, or leave out resample_hz."
        )
    ratio = Fraction(rate_hz / recording.rate_hz).limit_denominator(LARGEST_FACTOR)
    if ratio == 1:
        return recording
    if not ratio:
        raise ValueError(f"resample_hz {rate_hz} is too slow for {recording.rate_hz:.4g} Hz.")
    if not recording.in_memory:
        raise ValueError(
            f"Recording '{recording.name}' is larger than the memory it may take, so it cannot be "
            "resampled. Raise memory_gb (--memory-gb), or store it at the rate you want."
        )
    pieces = [_stretch(recording.values[a:b], ratio) for a, b in recording.stretches]
    windows = recording.window_len and len(pieces[0])
    return dataclasses.replace(
        recording,
        values=np.concatenate(pieces),
        rate_hz=rate_hz,
        breaks=np.cumsum([len(piece) for piece in pieces])[:-1],
        window_len=windows,
        reach=math.ceil(HALF_LENGTH * max(Fraction(1), ratio)),
    )


def _stretch(values: Array, ratio: Fraction) -> Array:
    from scipy.signal import resample_poly  # late: it takes as long as everything else

    up, down = ratio.numerator, ratio.denominator
    observed = ~np.isnan(values)
    weight = resample_poly(observed.astype("float64"), up, down, axis=0)
    total = resample_poly(np.where(observed, values, 0.0), up, down, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > LEAST_WEIGHT, total / weight, np.nan).astype("float32")
