"""Whether a run found what any run finds: how well the latents of one predict those of another."""

import itertools
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from ceneurovae.hints import JSON, Array, PathLike
from ceneurovae.model.scaler import some_windows
from ceneurovae.refitting import held_out, refit, run_to_refit
from ceneurovae.run_folder import RunFolder
from ceneurovae.splits import Splits
from ceneurovae.tracking import tracked

TRAINING_WINDOWS = 5000
PENALTIES = np.logspace(-3, 3, 13)


def seed_agreement(path: PathLike, refits: int = 3, splits: Splits | None = None) -> JSON:
    """Trains a run anew with other seeds, and predicts the latents of each from each other's.

    Latents may come in another order, with another sign or turned, so the prediction is linear:
    ridge regression, fitted on training windows and scored on held-out ones. Latents count by their
    variance, so that those that encode nothing do not. Where the training chose to leave the
    networks out (`decoder_gain` 0 in `choices.json`), what is left is a linear path that no seed
    decides, and they agree for that reason.

    Each refit is a run of its own in `refits/seed_N` of the run folder; one that was interrupted is
    gone on with, one that is finished is not made again. Writes `seeds.json` into the run folder.

    Args:
        path: Run folder.
        refits: Refits, at least 1.
        splits: The run's `Splits`; by default its files are read again.

    Returns:
        Dictionary of JSON types: `split`, what was scored; `seeds`, that of the run first; `pairs`,
        a list of `from`, `to` (seeds) and `r2`, for both directions; `mean` and `std` of `r2`
        over the pairs; and `linear`, whether none of the runs kept its networks.

    Raises:
        ValueError: if the run is not finished or set no data aside.
    """
    run, splits = run_to_refit(path, refits, splits)
    split, windows = held_out(splits)
    own, refine = run.training["seed"], run.refine_steps()
    data = [
        np.concatenate(list(some_windows(w, TRAINING_WINDOWS))) for w in (splits.train, windows)
    ]
    latents = {own: [run.load_model().encode(x, refine=refine).mu for x in data]}
    for seed in tracked(range(own + 1, own + 1 + refits), refits, "Training with other seeds"):
        model = refit(run, splits, seed, run.refit_path(seed))
        latents[seed] = [model.encode(x, refine=refine).mu for x in data]
    pairs = [
        {"from": one, "to": other, "r2": prediction_r2(latents[one], latents[other])}
        for one, other in itertools.permutations(latents, 2)
    ]
    scores = np.array([pair["r2"] for pair in pairs])
    found = {
        "split": split,
        "seeds": list(latents),
        "pairs": pairs,
        "mean": float(scores.mean()),
        "std": float(scores.std(ddof=1)),
        "linear": all(
            (folder.choices or {}).get("decoder_gain") == 0
            for folder in (run, *(RunFolder(run.refit_path(s)) for s in latents if s != own))
        ),
    }
    run.write_control("seeds", found)
    return found


def prediction_r2(source: Sequence[Array], target: Sequence[Array]) -> float:
    """R2 with which one model's latents predict another's, each latent weighted by its variance.

    Args:
        source, target: Pairs of latents `(n, Z)` of training and `(m, Z)` of held-out windows.
    """
    readout = RidgeCV(PENALTIES).fit(source[0], target[0])
    predicted = readout.predict(source[1])
    return float(r2_score(target[1], predicted, multioutput="variance_weighted"))
