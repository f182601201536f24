"""How well a model fills in what is hidden from it, beside simple methods. Numbers only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA

from ceneurovae.baselines import last_value, probabilistic_pca, ridge_prediction
from ceneurovae.hints import JSON, Array, Data
from ceneurovae.model.hidden_patterns import hide_pattern
from ceneurovae.model.missing import interpolated
from ceneurovae.model.scaler import some_windows
from ceneurovae.scores import Score
from ceneurovae.tracking import tracked

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

# Windows that are scored: fewer where each takes long to fill in.
MOST_WINDOWS, LEAST_WINDOWS, ENTRIES = 500, 50, 2**24
RIDGE_WINDOWS = 1000
# Groups of channels that are predicted from the others, unless there are more.
MOST_GROUPS = 4
DRAWS, INSIDE = 100, 0.9


def score_imputation(
    model: "NeuroBehaviorVAE", test: Data, train: Data = None, pca: PCA | None = None, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """R2 of the model and of simple methods on entries that were observed, but hidden from them.

    What is hidden is a function of the seed: `entries`, a fifth of them at random; `spans`, a
    quarter of the window in each channel, wherever it may begin; `end`, the last quarter, a
    forecast; `channels`, a fifth of them or one; and, where there are two to four groups of
    channels, all of each, as in `behavior from the others`.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        test: Held-out windows: `Windows`, an array `(N, T, C)`, or a dataset of batches. Of more
            than 500 windows (fewer where windows are large), 500 evenly spaced ones are used.
        train: Training windows, likewise, for ridge regression; `None` leaves it out.
        pca: Fitted by `fit_pca`, for probabilistic PCA; `None` leaves it out.
        seed: Whole number.

    Returns:
        For each pattern a dictionary: R2 in scaled units of the `vae`; of `interpolation` in time
        and of the training `mean`; of the conditional mean of probabilistic PCA, `ppca`; of the
        `last` value, for a forecast; of `ridge` regression, for groups; and `coverage`, the share
        of what was hidden that is within 90 % intervals, where the model can draw.
    """
    most = ENTRIES // (model.decoder.channels * model.decoder.seq_len**2)
    most = int(np.clip(most, LEAST_WINDOWS, MOST_WINDOWS))
    x = np.concatenate(list(some_windows(test, most)))
    scale = model.scaler.as_numpy
    groups = model.config.channel_groups
    scores = {}
    patterns = _patterns(x.shape, groups)
    for name, kind, options in tracked(patterns, len(patterns), "Imputing what is hidden"):
        hidden = hide_pattern(x.shape, kind, groups=groups, seed=seed, **options)
        shown = np.where(hidden, np.nan, x)
        target = np.where(hidden, scale(x), np.nan)
        methods = {"interpolation": interpolated(scale(shown)), "mean": np.zeros_like(x)}
        if kind == "end":
            methods["last"] = last_value(scale(shown))
        if pca is not None:
            methods["ppca"] = probabilistic_pca(pca, scale(shown))[0]
        if kind == "groups" and train is not None:
            known = np.concatenate(list(some_windows(train, RIDGE_WINDOWS)))
            targets = np.array(groups) == options["which"]
            methods["ridge"] = ridge_prediction(scale(known), scale(shown), targets)
        filled, coverage = _filled(model, shown, np.where(hidden, x, np.nan), seed)
        methods = {"vae": scale(filled), **methods}
        scores[name] = {method: _r2(target, filled) for method, filled in methods.items()}
        if coverage is not None:
            scores[name]["coverage"] = coverage
    return scores


def _patterns(shape: Sequence[int], groups: Sequence[str] | None) -> list[tuple[str, str, JSON]]:
    """Names, and arguments of `hide_pattern`."""
    _, steps, channels = shape
    patterns: list[tuple[str, str, JSON]] = [("entries", "entries", {})]
    if steps > 1:
        quarter = {"span": max(1, steps // 4)}
        patterns += [("spans", "spans", quarter), ("end", "end", quarter)]
    if channels > 1:
        patterns.append(("channels", "channels", {}))
    names = list(dict.fromkeys(groups or ()))
    if 1 < len(names) <= MOST_GROUPS:
        for name in names:
            patterns.append((f"{name} from the others", "groups", {"which": name}))
    return patterns


def _filled(
    model: "NeuroBehaviorVAE", shown: Array, truth: Array, seed: int
) -> tuple[Array, float | None]:
    """Imputed windows, and the share of the `truth` within intervals, `None` without draws."""
    if not model.can_draw:
        return model.impute(shown), None
    mean, *draws = model.imputations(shown, DRAWS, seed=seed)
    low, high = np.quantile(draws, [(1 - INSIDE) / 2, (1 + INSIDE) / 2], axis=0)
    known = ~np.isnan(truth)
    inside = (truth >= low) & (truth <= high)
    return mean, float(inside[known].mean()) if known.any() else None


def _r2(target: Array, estimate: Array) -> float | None:
    score = Score()
    score.add(target, estimate)
    return score.result().r2
