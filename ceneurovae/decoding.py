"""What latents know of behaviour: labels read from them, beside PCA, raw channels and chance."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, recall_score

from ceneurovae.baselines import fit_pca, pca_codes
from ceneurovae.hints import JSON, Array, PathLike
from ceneurovae.import_data import reload_splits
from ceneurovae.labels import Label, read_labels
from ceneurovae.refitting import held_out
from ceneurovae.run_folder import RunFolder
from ceneurovae.splits import Splits
from ceneurovae.time_folds import recording_folds, time_folds
from ceneurovae.tracking import tracked
from ceneurovae.windows import Windows

FOLDS, INNER_FOLDS = 5, 3
# The held-out data is used alone where each block of it is as long as so many windows.
LEAST_WINDOWS = 8
MOST_WINDOWS = 1000
NULL_LABELS = 10
LEAST_TRAINING = 10
# For codes whose squared length is 1 on average.
PENALTIES = {"regression": np.logspace(-4, 2, 7), "classification": np.logspace(-4, 0, 5)}
METRICS = {"regression": "r2", "classification": "balanced_accuracy"}


def decode_labels(
    path: PathLike, labels: Sequence[str] | Sequence[Label], splits: Splits | None = None
) -> JSON:
    """Reads labels from the latents of a run with a straight line, cross-validated in time.

    A label is that at the middle of a window. One with at most 10 values or texts is decoded by
    logistic regression with balanced classes, scored by balanced accuracy, the mean of the shares
    of each class that were recognised; others by ridge regression, scored by R2 about the mean of
    the block for test. Penalties are chosen within the training part of a fold, in blocks of time
    as well (`time_folds`, whose gaps are a window long). Where a label is the same throughout each
    recording, whole recordings are held out instead (`recording_folds`).

    Windows are the held-out ones, test or else validation, where they cover `8 * 5` window lengths:
    latents of windows that the model was trained on may hold more than latents of others. Less data
    would leave too little to learn from beside 5 blocks and their gaps, and then windows of all
    splits are used: no model has seen a label, unless it is one of its channels, and PCA has the
    same advantage. Of more than 1000 windows, 1000 evenly spaced ones are used.

    Beside the latents (`mu`, as `ceneurovae encode` writes them) the same is done with as many
    principal components of the training windows; with all values of a window, `channels`; and, for
    `null`, with the latents and labels that say nothing of them, 10 times (`null_labels`).

    Writes `decoding.json` into the run folder. What is in it already of other labels is kept, where
    it is of the same windows and folds.

    Args:
        path: Run folder.
        labels: Names for `read_labels`, or `Label`s of the recordings of `splits`.
        splits: The run's `Splits`; by default its files are read again.

    Returns:
        Dictionary of JSON types: `split`, the windows that were used: `test`, `valid` or `all`;
        `folds`; `gap`, in samples; and `labels`, a list of these, and then of those that were
        decoded before. Each has `name`, `kind` (`regression` or `classification`), `metric`,
        `samples` (windows), `in_model` (whether it is a channel of the model), and `latents`,
        `pca`, `channels` and `null`, each with `mean` and `std` over `folds`, a list. For `null`
        each number of `folds` is the mean over the folds of one label.
        A fold without two classes, or in which a label is constant, is `None`.

    Raises:
        ValueError: if the run is not finished, or a label cannot be used.
    """
    if not len(labels):
        raise ValueError("labels is empty. Name the labels that are to be read from the latents.")
    run = RunFolder(path)
    run.require_finished()
    if splits is None:
        splits = reload_splits(run.manifest)
    names = [label for label in labels if isinstance(label, str)]
    known = [label for label in labels if isinstance(label, Label)]
    known += read_labels(splits, names)
    split, windows = windows_to_decode(splits, run.refitted)
    model = run.load_model()
    x = windows.gather()
    codes = {
        "latents": model.encode(x, refine=run.refine_steps()).mu,
        "pca": pca_codes(model, fit_pca(model, splits.train), x),
        "channels": np.nan_to_num(model.scaler.as_numpy(x)).reshape(len(x), -1),
    }
    codes = {name: _scaled(part) for name, part in codes.items()}
    rows = []
    for label in tracked(known, len(known), "Decoding labels"):
        row = _decoded(label, codes, windows)
        rows.append({**row, "in_model": label.name in splits.train.channels})
    how = {"split": split, "folds": FOLDS, "gap": windows.seq_len}
    found = {**how, "labels": rows + _decoded_before(run, how, [row["name"] for row in rows])}
    run.write_control("decoding", found)
    return found


def _decoded_before(run: RunFolder, how: JSON, names: Sequence[str]) -> list[JSON]:
    """Rows that the run has of labels with other names, if they were made in the same way."""
    before = run.read_control("decoding") or {}
    if any(before.get(name) != value for name, value in how.items()):
        return []
    return [row for row in before["labels"] if row["name"] not in names]


def windows_to_decode(splits: Splits, refitted: bool = False) -> tuple[str, Windows]:
    """Name of the data, and at most 1000 `Windows` of it, in the order of time.

    Args:
        splits: `Splits`.
        refitted: Whether the model was trained on validation data too, so that without test data
            none is held out.
    """
    name, windows = held_out(splits)
    samples = sum(np.diff(windows.covered(i), axis=1).sum() for i in range(len(windows.recordings)))
    parts = [windows]
    if samples < LEAST_WINDOWS * FOLDS * windows.seq_len or (refitted and name == "valid"):
        name, parts = "all", splits
    places = np.concatenate([np.transpose(part.locate()) for part in parts])
    places = places[np.lexsort(places.T[::-1])]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MOST_WINDOWS)).astype("int64")
    runs = np.insert(places[chosen], 2, 1, axis=1)
    runs = np.insert(runs, 3, 1, axis=1)
    return name, Windows(windows.recordings, windows.seq_len, runs)


def _decoded(label: Label, codes: dict[str, Array], windows: Windows) -> JSON:
    """One row of the result."""
    recording, start = windows.locate()
    target = label.at_center(windows)
    known = ~np.isnan(target)
    recording, start, target = recording[known], start[known], target[known]
    codes = {name: part[known] for name, part in codes.items()}
    kind = "classification" if label.is_class else "regression"
    where = recording, start, windows.seq_len
    scores = {name: fold_scores(kind, part, target, *where) for name, part in codes.items()}
    if all(score is None for score in scores["latents"]):
        if of_recordings(target, recording):
            raise ValueError(
                f"Label '{label.name}' is the same throughout each recording, so that whole "
                f"recordings are held out, and {len(np.unique(recording))} are too few for that. "
                "Leave it out, or train on more recordings."
            )
        raise ValueError(
            f"Label '{label.name}' is known and varies in too few of {len(target)} windows to be "
            f"decoded in {FOLDS} blocks of time with gaps of {windows.seq_len} samples. Leave it "
            "out, or train with a shorter seq_len or on more data."
        )
    null = [
        _mean(fold_scores(kind, codes["latents"], other, *where))
        for other in null_labels(target, *where)
    ]
    return {
        "name": label.name,
        "kind": kind,
        "metric": METRICS[kind],
        "samples": len(target),
        **{name: _summary(part) for name, part in scores.items()},
        "null": _summary(null),
    }


def fold_scores(
    kind: str, codes: Array, target: Array, recording: Array, start: Array, seq_len: int
) -> list[float | None]:
    """Score of a label in each fold, `None` where there is none.

    Args:
        kind: `"regression"` or `"classification"`.
        codes: `(n, D)`, whose squared length is about 1 on average.
        target: `(n,)`, the label.
        recording, start, seq_len: As for `time_folds`.
    """
    whole = of_recordings(target, recording)

    def split(rows: Array, folds: int) -> Iterator[tuple[Array, Array]]:
        if whole:
            return recording_folds(recording[rows], target[rows], folds)
        return time_folds(recording[rows], start[rows], seq_len, folds)

    scores = []
    for train, test in split(np.arange(len(target)), FOLDS):
        inner = list(split(train, INNER_FOLDS)) if len(train) else []
        x, y = codes[train], target[train]
        means = [_mean([_score(kind, x, y, *f, p) for f in inner]) for p in PENALTIES[kind]]
        known = [
            (mean, p) for mean, p in zip(means, PENALTIES[kind], strict=True) if mean is not None
        ]
        penalty = max(known)[1] if known else PENALTIES[kind][len(means) // 2]
        scores.append(_score(kind, codes, target, train, test, penalty))
    return scores


def _score(
    kind: str, codes: Array, target: Array, train: Array, test: Array, penalty: float
) -> float | None:
    """Score on windows for test of what was fitted to windows for training, or `None`."""
    if kind == "classification":
        test = test[np.isin(target[test], target[train])]
    seen, asked = (len(np.unique(target[rows])) for rows in (train, test))
    if min(seen, asked) < 2 or len(train) < LEAST_TRAINING:
        return None
    penalty = penalty * len(train)
    if kind == "regression":
        readout = Ridge(penalty).fit(codes[train], target[train])
        return float(r2_score(target[test], readout.predict(codes[test])))
    readout = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=300)
    with warnings.catch_warnings():
        # Classes that can be told apart without an error leave it no end to converge to.
        warnings.simplefilter("ignore", ConvergenceWarning)
        readout.fit(codes[train], target[train])
    predicted, classes = readout.predict(codes[test]), np.unique(target[test])
    return float(recall_score(target[test], predicted, labels=classes, average="macro"))


def of_recordings(target: Array, recording: Array) -> bool:
    """Whether a label `(n,)` is the same throughout each of several recordings."""
    first, owner = _first_of_each(recording)
    return len(first) > 1 and bool((target[first][owner] == target).all())


def _first_of_each(recording: Array) -> tuple[Array, Array]:
    """The first window of each recording, and the number of each window's recording."""
    _, first, owner = np.unique(recording, return_index=True, return_inverse=True)
    return first, owner


def null_labels(target: Array, recording: Array, start: Array, seq_len: int) -> Iterator[Array]:
    """Labels that say nothing of the codes, but are as slow: what is read of them is chance.

    They are circularly shifted along all windows, by at least a window or a quarter of the time.
    Labels of whole recordings are exchanged between recordings: shifted, those that stand sorted
    would only change their names.

    Args:
        target: `(n,)`, the label.
        recording, start, seq_len: As for `time_folds`.

    Yields:
        `(n,)`, 10 times.
    """
    if of_recordings(target, recording):
        first, owner = _first_of_each(recording)
        rng = np.random.default_rng(0)
        for _ in range(NULL_LABELS):
            yield rng.permutation(target[first])[owner]
        return
    steps = np.diff(start)[np.diff(recording) == 0]
    least = -(-seq_len // max(1, int(np.median(steps)))) if len(steps) else 1
    least = min(least, len(target) // 4)
    for shift in np.linspace(least, len(target) - least, NULL_LABELS).astype(int):
        yield np.roll(target, shift)


def _scaled(codes: Array) -> Array:
    """Codes `(n, D)` about their mean, with a mean squared length of 1."""
    centred = codes - codes.mean(axis=0, dtype="float64")
    length = np.sqrt(np.square(centred).sum(axis=1).mean())
    return centred / length if length > 0 else centred


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def _summary(scores: Sequence[float | None]) -> JSON:
    known = [score for score in scores if score is not None]
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": _mean(scores), "std": spread, "folds": scores}
