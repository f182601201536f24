"""What is chosen on validation data once a model is trained: how much its networks count.

The linear path alone is probabilistic PCA, so the choice between it and the network keeps a model
of a small recording from being worse than the simple method.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ceneurovae.checkpoint import FitState, weights_of
from ceneurovae.hints import JSON, Array
from ceneurovae.model.refine import REFINE

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

GAINS = (1.0, 0.5, 0.25, 0.0)
# By this share the network has to cut the deviance of the linear path, and earlier weights that of
# the last ones: those of the middle of the training have not seen the rate fall.
MARGIN = 0.05
MOST_WINDOWS = 1000


def select(
    model: "NeuroBehaviorVAE", valid: Array, weights: Sequence[Sequence[Array]] = ()
) -> JSON:
    """Leaves the model with the weights and gains that are best on validation windows.

    Its noise level, if it has one, becomes that of the errors there.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        valid: Validation windows `(N, T, C)`.
        weights: Lists of weights to choose from, the last ones first; those it has by default.

    Returns:
        Dictionary of JSON types: `weights`, the index of those chosen; `decoder_gain` and
        `encoder_gain`; `deviance`, per window and refined, of the model and, as `linear`, of its
        linear path; and `refine`, the steps that helped: `REFINE` or 0.
    """
    candidates = list(weights) or [weights_of(model)]
    tried = {}
    for index, values in enumerate(candidates):
        model.set_weights(values)
        for gain in GAINS if index == 0 else GAINS[:-1]:  # without a network, all are the same
            model.decoder.gain.assign(gain)
            tried[index, gain] = deviance(model, valid, REFINE)
    linear = tried.pop((0, 0.0))
    index, gain = min(tried, key=lambda key: tried[key] / (1 if key[0] == 0 else 1 - MARGIN))
    best = tried[index, gain]
    if not best <= (1 - MARGIN) * linear:
        index, gain, best = 0, 0.0, linear
    model.set_weights(candidates[index])
    model.decoder.gain.assign(gain)
    encoders = {}
    for encoder_gain in GAINS if gain else (0.0,):
        model.encoder.gain.assign(encoder_gain)
        encoders[encoder_gain] = deviance(model, valid)
    encoder_gain = min(encoders, key=encoders.__getitem__)
    model.encoder.gain.assign(encoder_gain)
    # On training data errors are smaller, and the model would be too sure of itself.
    model.likelihood.calibrate(valid, model.reconstruct(valid), model.scaler)
    unrefined = deviance(model, valid)
    return {
        "weights": index,
        "decoder_gain": gain,
        "encoder_gain": encoder_gain,
        "deviance": best,
        "linear": linear,
        "refine": REFINE if deviance(model, valid, REFINE) < unrefined else 0,
    }


class GiveUp(keras.callbacks.Callback):
    """Ends a training in which the network has shown no gain by a certain epoch.

    It has to have cut the deviance of the linear path, refined, by half of what `select` asks for.

    Args:
        state: `FitState`, which is over then.
        valid: Function that gives validation windows `(N, T, C)`.
        trial: The epochs after which that is looked at.
    """

    def __init__(self, state: FitState, valid: Callable[[], Array], trial: int) -> None:
        super().__init__()
        self.state, self.valid, self.trial = state, valid, trial

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 != self.trial:
            return
        model, windows = self.model, self.valid()
        found = {}
        for gain in (0.0, 0.5, 1.0):  # as which it began, and leaves it
            model.decoder.gain.assign(gain)
            found[gain] = deviance(model, windows, REFINE)
        linear = found.pop(0.0)
        if not min(found.values()) <= (1 - MARGIN / 2) * linear:
            self.state.over = model.stop_training = True


def deviance(model: "NeuroBehaviorVAE", x: Array, refine: int = 0) -> float:
    """Mean deviance per window of the reconstructions of `x` `(N, T, C)`."""
    values = model.likelihood.deviance(x, model.reconstruct(x, refine=refine), model.scaler)
    return float(np.mean(np.asarray(values), dtype="float64"))
