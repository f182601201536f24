"""The latent explorer: sliders for latents, and the window that the decoder makes of them.

The decoder itself runs in the page, as `decoder.js` and its weights. Where those are too large, the
page gets windows that were decoded before, on a grid of one latent at a time, and says so.
"""

import json
from collections.abc import Sequence
from importlib.resources import files

import keras
import numpy as np

from ceneurovae.hints import JSON, Array
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.loss import kl_divergence
from ceneurovae.model.metrics import ACTIVE_VARIANCE
from ceneurovae.report.decoder_program import UnknownLayerError, describe_decoder
from ceneurovae.report.packing import pack, pack_int24, pack_windows

# Characters that the arrays of the explorer may take in the page.
BUDGET = 2_700_000
MOST_SLIDERS = 8
MOST_SHOWN = 12
# A slider reaches so many standard deviations to either side, and a grid has so many values on it.
REACH = 3.0
GRID_VALUES = 9

HEADING = """\
<section class="explorer" id="explorer">
<h2>Latent explorer</h2>
<p>{about}</p>
"""
SECTION = """\
<style>
{style}</style>
<noscript><p>The explorer needs JavaScript.</p></noscript>
<div class="explorer-body" hidden>
<form class="explorer-controls" autocomplete="off"></form>
<div class="explorer-view">
<p class="explorer-status" role="status"></p>
<div class="explorer-panels"></div>
</div>
</div>
<script type="application/json" class="explorer-data">{data}</script>
<script>
{script}</script>
</section>
"""


def explorer_section(
    model: NeuroBehaviorVAE,
    posterior: Sequence[Array],
    channels: Sequence[str],
    rate_hz: float | None = None,
    observed: Array | None = None,
    names: Sequence[str] | None = None,
    budget: int = BUDGET,
) -> str:
    """A piece of HTML, complete in itself, in which latents are moved and windows decoded.

    It listens on `document` for `CustomEvent("ceneurovae:window", {detail: {index}})` and loads the
    window of that index. Once the promise `window.ceneurovae.ready` is kept,
    `window.ceneurovae.decode` is the decoder, or `null` where there is a grid.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        posterior: `mu` and `logvar`, each `(N, Z)`, of the windows that can be loaded: those of the
            scatter, in its order.
        channels: Names of the `C` channels.
        rate_hz: Samples per second; where it is `None`, time is in samples.
        observed: Those windows as recorded, `(N, T, C)` with NaN, to be drawn behind what the
            decoder makes of them. Channels that do not fit into the budget are left out.
        names: What each window is called, `N` of them; by default its number, from 1.
        budget: Characters that the arrays may take. If the weights take more, there is a grid.

    Returns:
        A `<section>` with its style and script; of words alone where there is nothing to explore,
        or not even a grid fits.

    Raises:
        ValueError: if there is no window, or the shapes do not fit each other.
    """
    mu, logvar = (np.asarray(part, "float32") for part in posterior)
    if not len(mu):
        raise ValueError("There is no window to explore. Give the posterior of at least one.")
    decoded = model.decode(mu, batch_size=256)
    _require_fit(decoded, channels, observed, names)
    if not np.isfinite(decoded).all():
        return _without("The decoder's numbers are not finite: there is nothing to explore.")
    data: JSON = {
        "steps": decoded.shape[1],
        "rate": rate_hz,
        "channels": list(channels),
        "ranges": np.stack([decoded.min(axis=(0, 1)), decoded.max(axis=(0, 1))], axis=1).tolist(),
        "mu": pack(mu.astype("<f4")),
        "names": None if names is None else list(names),
        "mean": mu.mean(axis=0, dtype="float64").tolist(),
        "sliders": _sliders(mu, logvar),
    }
    order = _most_varied(model.scaler.as_numpy(decoded))
    windows = {} if observed is None else {"observed": np.asarray(observed)}
    left = budget - len(data["mu"])
    program, about = _program_within(model, left)
    if program is None:
        grid = model.decode(_grid(data["mean"], data["sliders"]), batch_size=256)
        windows = {"grid": grid, "decoded": decoded, **windows}
        data["gridValues"] = GRID_VALUES
    else:
        left -= len(program["weights"])
        data |= program
    data["stored"] = _stored(windows, order, left)
    drawn = [n for n in order if "program" in data or n in data["stored"]]
    if not drawn:
        return _without(about + "Nor is there room for the windows of a grid of latents.")
    data["shown"] = sorted(drawn[:MOST_SHOWN])
    about += _about_sliders(data, len(mu)) + _about_stored(windows, len(data["stored"]), len(order))
    return HEADING.format(about=about) + SECTION.format(
        style=_file("explorer.css"),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=_file("decoder.js") + _file("explorer.js"),
    )


def _without(about: str) -> str:
    """A section of words alone."""
    return HEADING.format(about=about) + "</section>\n"


def _require_fit(
    decoded: Array, channels: Sequence[str], observed: Array | None, names: Sequence[str] | None
) -> None:
    if observed is not None and np.shape(observed) != decoded.shape:
        raise ValueError(
            f"observed has shape {np.shape(observed)}, expected {decoded.shape}. Give the windows "
            "that the posterior is of."
        )
    counts = (("channels", channels, decoded.shape[2]), ("names", names, len(decoded)))
    for what, given, count in counts:
        if given is not None and len(given) != count:
            raise ValueError(f"Received {len(given)} {what}, expected {count}. Give one for each.")


def _sliders(mu: Array, logvar: Array) -> list[JSON]:
    """The active latents with the most KL divergence, or the one with the most if none is active.

    Each with its `reach` to either side of the mean: standard deviations of the aggregate
    posterior, whose variance is that of the means plus the mean of the variances.
    """
    kl = keras.ops.convert_to_numpy(kl_divergence(mu, logvar)).mean(axis=0)
    deviation = np.sqrt(mu.var(axis=0) + np.exp(logvar).mean(axis=0))
    order = np.argsort(-kl, kind="stable")
    active = [n for n in order if mu[:, n].var() > ACTIVE_VARIANCE] or order[:1]
    return [
        {"latent": int(n), "reach": REACH * float(deviation[n]), "kl": float(kl[n])}
        for n in active[:MOST_SLIDERS]
    ]


def _most_varied(scaled: Array) -> list[int]:
    """Channels of scaled windows `(N, T, C)`, those that vary most first."""
    return np.argsort(-scaled.var(axis=(0, 1)), kind="stable").tolist()


def _program_within(model: NeuroBehaviorVAE, budget: int) -> tuple[JSON | None, str]:
    """`program` and packed `weights`, or `None` if they do not fit, and a sentence about it."""
    try:
        program, weights = describe_decoder(model)
    except UnknownLayerError:
        return None, "This decoder has layers that the page cannot evaluate. "
    packed = pack_int24(weights)
    if len(packed) > budget:
        return None, f"This decoder, of {len(weights):,} weights, is too large for the page. "
    about = f"The decoder itself, of {len(weights):,} weights, runs in this page. "
    return {"program": program, "weights": packed}, about


def _grid(mean: Sequence[float], sliders: Sequence[JSON]) -> Array:
    """Latents `(sliders * GRID_VALUES, Z)`: each slider's in turn, the others at their means."""
    z = np.tile(np.asarray(mean, "float32"), (len(sliders), GRID_VALUES, 1))
    for row, slider in zip(z, sliders, strict=True):
        row[:, slider["latent"]] += slider["reach"] * np.linspace(-1, 1, GRID_VALUES)
    return z.reshape(-1, len(mean))


def _stored(windows: dict[str, Array], order: Sequence[int], budget: int) -> dict[int, JSON]:
    """Channel -> packed windows of each kind, for the first channels in the order that fit.

    Args:
        windows: Dictionary of `(n, T, C)`.
        order: Channels.
        budget: Characters for all.
    """
    stored = {}
    for channel in order if windows else []:
        packed = {kind: pack_windows(values[..., channel]) for kind, values in windows.items()}
        budget -= sum(len(part["bytes"]) for part in packed.values())
        if budget < 0:
            break
        stored[channel] = packed
    return stored


def _about_sliders(data: JSON, count: int) -> str:
    reach = f"{REACH:g} standard deviations to either side of its mean over {count:,} windows"
    if "program" in data:
        return (
            f"A slider moves a latent up to {reach}; the other latents stay where they are. "
            "Click a point of the scatter to load its window."
        )
    return (
        "In its place is a grid of one latent at a time, decoded before: a slider takes a latent "
        f"through {GRID_VALUES} values up to {reach}, and all other latents are at theirs. Click a "
        "point of the scatter to see its window as the decoder makes it."
    )


def _about_stored(windows: dict[str, Array], stored: int, channels: int) -> str:
    if not windows or stored == channels:
        return ""
    what = "Windows" if "grid" in windows else "Observed windows"
    return f" {what} of {stored} of the {channels} channels fit into the page."


def _file(name: str) -> str:
    return files("ceneurovae.report").joinpath(name).read_text()
