"""The held-out windows that a report shows: the latents of all, and a few as they look."""

import dataclasses

import keras
import numpy as np

from ceneurovae.hints import Array
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.likelihood import GaussianLikelihood, PoissonLikelihood
from ceneurovae.windows import Windows

MOST_WINDOWS, MOST_VALUES = 1000, 1 << 25  # 128 MiB
MOST_CHANNELS = 12
# Draws for the intervals, and the values of windows that are drawn at once.
DRAWS, DRAWN_AT_ONCE = 400, 1 << 24
QUANTILES = (0.05, 0.95)


@dataclasses.dataclass(frozen=True)
class Example:
    """One window and what the model makes of it, in scaled units, `k` channels.

    Args:
        title: Which it is: best, median or worst.
        r2: Its R2, over all channels.
        recording: Name of its recording.
        start: Its first sample.
        target, reconstruction, low, high: `(T, k)`; `target` has NaN where nothing was observed.
    """

    title: str
    r2: float
    recording: str
    start: int
    target: np.ndarray
    reconstruction: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class ShownWindows:
    """Evenly spaced held-out windows.

    Args:
        recording, start: `(n,)`, index of each window's recording, and its first sample.
        names: Names of the recordings.
        observed: `(n, T, C)`, raw units, NaN where missing.
        mu, logvar: `(n, Z)`, of the encoder.
        r2: `(n,)`, NaN where a window has nothing to explain.
        channels: Indices of the channels in the examples.
        examples: `Example`s.
        interval: What the intervals of the examples hold, in words.
    """

    recording: np.ndarray
    start: np.ndarray
    names: tuple[str, ...]
    observed: np.ndarray
    mu: np.ndarray
    logvar: np.ndarray
    r2: np.ndarray
    channels: np.ndarray
    examples: tuple[Example, ...]
    interval: str

    @property
    def middle(self) -> Array:
        """`(n,)`, the sample in the middle of each window."""
        return self.start + self.observed.shape[1] // 2


def show_windows(model: NeuroBehaviorVAE, windows: Windows, seed: int = 0) -> ShownWindows:
    """Encodes evenly spaced windows, and decodes the best, the median and the worst of them.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        windows: Held-out `Windows`.
        seed: Decides the draws of the intervals.

    Returns:
        `ShownWindows`.
    """
    most = MOST_VALUES // (windows.seq_len * len(windows.channels))
    count = min(len(windows), MOST_WINDOWS, max(most, 3))
    chosen = np.linspace(0, len(windows) - 1, count).astype("int64")
    recording, start = windows.locate(chosen)
    observed = windows.gather(chosen)
    mu, logvar = model.encode(observed, batch_size=256)
    target = model.scaler.as_numpy(observed)
    reconstruction = model.scaler.as_numpy(model.decode(mu, batch_size=256))
    error, spread = squares(target, reconstruction)
    r2 = _r2(error.sum(axis=1), spread.sum(axis=1))
    channels = _spaced_by_rank(_r2(error.sum(axis=0), spread.sum(axis=0)), MOST_CHANNELS)
    names = tuple(item.name for item in windows.recordings)
    rng = np.random.default_rng(seed)
    examples = []
    for title, index in _chosen_examples(r2):
        low, high = _interval(model, mu[index], logvar[index], channels, rng)
        examples.append(
            Example(
                title,
                float(r2[index]),
                names[recording[index]],
                int(start[index]),
                target[index][:, channels],
                reconstruction[index][:, channels],
                low,
                high,
            )
        )
    return ShownWindows(
        *(recording, start, names, observed, mu, logvar, r2, channels, tuple(examples)),
        interval=_describe_interval(model),
    )


def squares(target: Array, estimate: Array) -> tuple[Array, Array]:
    """Squared errors, and deviations from each channel's mean over the windows, `(n, C)` each.

    Args:
        target: `(n, T, C)`, with NaN, which is not counted.
        estimate: `(n, T, C)`.
    """
    seen = ~np.isnan(target)
    count = np.maximum(seen.sum(axis=(0, 1)), 1)
    mean = np.where(seen, target, 0).sum(axis=(0, 1), dtype="float64") / count
    error, deviation = (
        np.square(np.where(seen, target - part, 0), dtype="float64").sum(axis=1)
        for part in (estimate, mean)
    )
    return error, deviation


def _r2(error: Array, spread: Array) -> Array:
    return np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), np.nan)


def _spaced_by_rank(r2: Array, most: int) -> Array:
    """Indices of channels, evenly spaced from the highest R2 to the lowest; NaN is last."""
    order = np.argsort(-r2, kind="stable")
    order = order[: max(1, np.count_nonzero(~np.isnan(r2)))]
    return order[np.linspace(0, len(order) - 1, min(len(order), most)).astype("int64")]


def _chosen_examples(r2: Array) -> list[tuple[str, int]]:
    """Titles and indices of the best, the median and the worst window, as far as they differ."""
    order = np.argsort(r2)[: np.count_nonzero(~np.isnan(r2))]
    if not len(order):
        return []
    places = {"best": len(order) - 1, "median": len(order) // 2, "worst": 0}
    return [(title, order[place]) for title, place in places.items()][: len(order)]


def _interval(
    model: NeuroBehaviorVAE, mu: Array, logvar: Array, channels: Array, rng: np.random.Generator
) -> Array:
    """Scaled 5 % and 95 % quantiles `(T, k)` of what may be recorded where latents are these."""
    size = model.decoder.seq_len * model.decoder.channels
    batch = max(1, DRAWN_AT_ONCE // size)
    draws = []
    for first in range(0, DRAWS, batch):
        count = min(batch, DRAWS - first)
        z = mu + np.exp(0.5 * logvar) * rng.standard_normal((count, len(mu)))
        decoded = np.asarray(model.decode(z.astype("float32"), batch_size=256))
        draws.append(_with_noise(model, decoded, rng)[:, :, channels])
    return np.quantile(np.concatenate(draws), QUANTILES, axis=0)


def _with_noise(model: NeuroBehaviorVAE, expected: Array, rng: np.random.Generator) -> Array:
    """Scaled draws of what may be recorded, from expected values in raw units."""
    if isinstance(model.likelihood, PoissonLikelihood):
        return model.scaler.as_numpy(rng.poisson(expected))
    scaled = model.scaler.as_numpy(expected)
    if isinstance(model.likelihood, GaussianLikelihood):
        deviation = np.exp(0.5 * keras.ops.convert_to_numpy(model.likelihood.logvar))
        scaled = scaled + deviation * rng.standard_normal(scaled.shape)
    return scaled


def _describe_interval(model: NeuroBehaviorVAE) -> str:
    if isinstance(model.likelihood, GaussianLikelihood):
        noise = "with the Gaussian noise of the likelihood"
    elif isinstance(model.likelihood, PoissonLikelihood):
        noise = "with counts drawn from the Poisson likelihood"
    else:
        noise = f"without noise, of which {model.config.reconstruction_loss} makes no draws"
    return f"{DRAWS} draws of the latents from the posterior, {noise}"
