"""How much of a model's score is the data's: the same training on data without its structure."""

from collections.abc import Sequence

import numpy as np

from ceneurovae.hints import JSON, PathLike
from ceneurovae.refitting import held_out, reconstruction_score, refit, run_to_refit
from ceneurovae.splits import Splits
from ceneurovae.surrogates import shifted_splits, shuffled_splits
from ceneurovae.tracking import tracked

SCORES = ("r2", "skill")


def null_control(path: PathLike, refits: int = 3, splits: Splits | None = None) -> JSON:
    """Trains on surrogate data with the settings and splits of a run, and compares the scores.

    Channels that were shifted against each other (`shifted_splits`) keep their own course in time,
    so a model can still compress each of them; what it explains of the real data beyond that comes
    from what channels share. One more refit is on data with time shuffled (`shuffled_splits`),
    which keeps what channels share at one time. Each refit is trained, and scored on held-out
    windows, with the same surrogate, shift and weights decided by its seed.

    Writes `null.json` into the run folder after each refit. Those that are in it already are kept:
    an interrupted control goes on, and with more `refits` only those that are missing are made.

    Args:
        path: Run folder.
        refits: Refits on shifted data, at least 1.
        splits: The run's `Splits`; by default its files are read again.

    Returns:
        Dictionary of JSON types: `split`, what was scored; `refits`, those on shifted data that
        there are; `real`, the `r2` and `skill` of the run (see `evaluate`); `shifted`, a list of
        `seed`, `r2` and `skill`; `time_shuffled`, likewise; and `gap`, for `r2` and `skill`, the
        `mean` over shifted refits of what the real one is above, and `std`, its standard deviation
        over them (`None` for one).

    Raises:
        ValueError: if the run is not finished, has one channel, or does not fit into memory.
    """
    run, splits = run_to_refit(path, refits, splits)
    split, windows = held_out(splits)
    own = run.training["seed"]
    found = run.read_control("null") or {"shifted": [], "time_shuffled": None}
    found = {"split": split, "real": reconstruction_score(run.load_model(), windows), **found}
    missing = [("time_shuffled", shuffled_splits, own)] if not found["time_shuffled"] else []
    made = {row["seed"] for row in found["shifted"]}
    seeds = range(own + 1, own + 1 + refits)
    missing += [("shifted", shifted_splits, seed) for seed in seeds if seed not in made]
    for kind, surrogate, seed in tracked(missing, len(missing), "Training on null data"):
        data = surrogate(splits, seed)
        model = refit(run, data, seed)
        score = {"seed": seed, **reconstruction_score(model, getattr(data, split))}
        if kind == "shifted":
            found["shifted"].append(score)
        else:
            found["time_shuffled"] = score
        run.write_control("null", _summary(found))
    return _summary(found)


def _summary(found: JSON) -> JSON:
    """What was found, with the number of refits and the gap, in the order it is written in."""
    shifted, real = found["shifted"], found["real"]
    return {
        "split": found["split"],
        "refits": len(shifted),
        "real": real,
        "shifted": shifted,
        "time_shuffled": found["time_shuffled"],
        "gap": {name: _gap(real[name], [row[name] for row in shifted]) for name in SCORES},
    }


def _gap(real: float | None, null: Sequence[float | None]) -> JSON:
    if real is None or not null or None in null:
        return {"mean": None, "std": None}
    apart = real - np.array(null)
    return {
        "mean": float(apart.mean()),
        "std": float(apart.std(ddof=1)) if len(apart) > 1 else None,
    }
