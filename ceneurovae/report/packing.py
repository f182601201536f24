"""Arrays as text within a page: compressed, then base64; `explorer.js` unpacks them."""

import base64
import zlib

import numpy as np

from ceneurovae.hints import JSON, Array

MISSING = 255


def pack(values: Array) -> str:
    """Bytes of an array, compressed by zlib, as base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def pack_int24(values: Array) -> str:
    """Whole numbers from `-2^23` to `2^23 - 1`, as text.

    All low bytes come first, then all middle and all high ones, which compresses better.
    """
    return pack(np.ascontiguousarray(values, "<i4").view("u1").reshape(-1, 4)[:, :3].T)


def pack_windows(windows: Array) -> JSON:
    """Windows of one channel, `(N, T)` with NaN, to within 1/508 of their range.

    Returns:
        `{"low", "step", "bytes"}`: a value is `low + step * byte`, and NaN where the byte is 255.
    """
    observed = np.isfinite(windows)
    low = float(np.min(windows, where=observed, initial=np.inf))
    high = float(np.max(windows, where=observed, initial=-np.inf))
    if low > high:  # nothing was observed
        low = high = 0.0
    step = (high - low) / (MISSING - 1) or 1.0
    steps = np.rint((np.where(observed, windows, low).astype("float64") - low) / step)
    return {
        "low": low,
        "step": step,
        "bytes": pack(np.where(observed, steps, MISSING).astype("u1")),
    }
