"""The latent explorer: sliders for latents, and the window that the decoder makes of them.

The decoder itself runs in the page, as `decoder.js` and its weights. Where those are too large, the
page gets windows that were decoded before, on a grid of one latent at a time, and says so.
"""

import json
from importlib.resources import files

import keras
import numpy as np

from ceneurovae.model.loss import kl_divergence
from ceneurovae.model.metrics import ACTIVE_VARIANCE
from ceneurovae.report.decoder_program import UnknownLayerError, describe_decoder
from ceneurovae.report.packing import pack, pack_float24, pack_windows

# Characters that the arrays of the explorer may take in the page.
BUDGET = 2_500_000
MOST_SLIDERS = 8
MOST_SHOWN = 12
# A slider reaches so many standard deviations to either side, and a grid has so many values on it.
REACH = 3.0
GRID_VALUES = 9

SECTION = """\
<section class="explorer" id="explorer">
<style>
{style}</style>
<h2>Latent explorer</h2>
{paragraphs}
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
    model, posterior, channels, rate_hz=None, observed=None, names=None, budget=BUDGET
):
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
        A `<section>` with its style and script.

    Raises:
        ValueError: if there is no window, or the shapes do not fit each other.
    """
    mu, logvar = (np.asarray(part, "float32") for part in posterior)
    if not len(mu):
        raise ValueError("There is no window to explore. Give the posterior of at least one.")
    decoded = model.decode(mu, batch_size=256)
    _require_fit(decoded, channels, observed, names)
    scaled = model.scaler.as_numpy(decoded)
    order = np.argsort(-scaled.var(axis=(0, 1)), kind="stable")  # of channels, most varied first
    data = {
        "steps": decoded.shape[1],
        "rate": rate_hz,
        "channels": list(channels),
        "shown": sorted(order[:MOST_SHOWN].tolist()),
        "ranges": np.stack([decoded.min(axis=(0, 1)), decoded.max(axis=(0, 1))], axis=1).tolist(),
        "mu": pack(mu.astype("<f4")),
        "names": names,
        "mean": mu.mean(axis=0, dtype="float64").tolist(),
        "sliders": _sliders(mu, logvar),
    }
    left = budget - len(data["mu"])
    windows = {} if observed is None else {"observed": observed}
    program, reason = _packed_program(model, left)
    if program is None:
        windows = {"grid": model.decode(_grid(data)), "decoded": decoded, **windows}
        data["gridValues"] = GRID_VALUES
        paragraphs = [_about_grid(reason, len(data["sliders"]))]
    else:
        data |= program
        left -= len(program["weights"])
        paragraphs = [_about_decoder(reason, len(mu))]
    data["stored"] = _stored(windows, order, left)
    if windows and len(data["stored"]) < len(channels):
        paragraphs.append(_about_stored(len(data["stored"]), len(channels), program is None))
    data["shown"] = _shown(order, data["stored"] if program is None else order)
    return SECTION.format(
        style=_file("explorer.css"),
        paragraphs="\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=_file("decoder.js") + _file("explorer.js"),
    )


def _require_fit(decoded, channels, observed, names):
    if observed is not None and np.shape(observed) != decoded.shape:
        raise ValueError(
            f"observed has shape {np.shape(observed)}, expected {decoded.shape}. Give the windows "
            "that the posterior is of."
        )
    for what, given, count in (
        ("channels", channels, decoded.shape[2]),
        ("names", names, len(decoded)),
    ):
        if given is not None and len(given) != count:
            raise ValueError(f"Received {len(given)} {what}, expected {count}. Give one for each.")
