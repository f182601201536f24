"""How good a model is on data it has not seen, beside simple methods. Numbers only."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from scipy.special import logsumexp
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ceneurovae.baselines import fit_pca, pca_reconstruction, probabilistic_pca
from ceneurovae.hints import JSON, Array, Data, PathLike
from ceneurovae.import_data import reload_splits
from ceneurovae.imputation import score_imputation
from ceneurovae.model.likelihood import GaussianLikelihood
from ceneurovae.model.loss import kl_divergence
from ceneurovae.model.metrics import ACTIVE_VARIANCE
from ceneurovae.model.refine import REFINE
from ceneurovae.model.scaler import iterate_batches, some_windows
from ceneurovae.results import Baselines, Evaluation, ProbabilisticReconstruction, SplitScores
from ceneurovae.run_folder import RunFolder
from ceneurovae.scores import Score
from ceneurovae.splits import Splits
from ceneurovae.tracking import tracked
from ceneurovae.verdict import judge
from ceneurovae.windows import Windows

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE


# Training and validation windows that are scored: they are there to be compared with.
COMPARED_WINDOWS = 1000
SCORED = ("test", "validation", "train")


def evaluate(
    model: "NeuroBehaviorVAE",
    test: Data,
    train: Data = None,
    validation: Data = None,
    batch_size: int = 256,
    refine: int = REFINE,
    iwae_samples: int = 16,
    imputation: bool = True,
    seed: int = 0,
    trained_on: Sequence[str] = ("train",),
    split: str = "test",
) -> Evaluation:
    """Scores a model on windows that it has not seen.

    Errors are of scaled values, over observed entries.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        test: Held-out windows: `Windows`, an array `(N, T, C)`, or a dataset of batches.
        train: Training windows, likewise, to be scored as well, and for the simple methods that the
            model is compared with: PCA with as many components as latents, of whole scaled
            windows, probabilistic PCA, and the training mean. `None` leaves all of that out. Of
            more than 5000 windows, PCA is fitted to 5000 evenly spaced ones.
        validation: Validation windows, likewise, to be scored as well.
        batch_size: Windows at a time.
        refine: Steps of refinement in `refined`; 0 leaves it out.
        iwae_samples: Draws of the latents of each window, `K`.
        imputation: Whether to score how well the model fills in what is hidden from it.
        seed: Decides the draws, and what is hidden.
        trained_on: Which of `"test"`, `"validation"` and `"train"` the model was trained on. After
            `train(refit=True)` that is `("train", "validation")`. It decides what is said.
        split: What `test` is: `"valid"` for validation data, on which the model was chosen.

    Returns:
        `Evaluation`, such as `result.test.r2`, `result.baselines.pca.r2` and `result.verdict`; as
        JSON types, `result.to_json()`.

    Raises:
        ValueError: if there is no test window, or `trained_on` or `split` name something else.
    """
    if split not in ("test", "valid"):
        raise ValueError(f"split is {split!r}, expected 'test' or 'valid'.")
    unknown = set(trained_on) - set(SCORED)
    if unknown:
        raise ValueError(
            f"trained_on names {', '.join(sorted(unknown))}, expected some of {', '.join(SCORED)}."
        )
    splits = {"test": test, "validation": validation, "train": train}
    splits = {name: _windows_of(data) for name, data in splits.items() if data is not None}
    # All batches of one size: each other one would be compiled for.
    counts = [_count(data) or batch_size for data in splits.values()]
    batch_size = min(batch_size, max(counts))
    scored: dict[str, Any] = {}
    for name, data in splits.items():
        most = None if name == "test" else COMPARED_WINDOWS
        found = _score(model, data, most, batch_size, refine, iwae_samples, seed)
        scored[name] = SplitScores(**found, seen_in_training=name in trained_on)
    pca = None if train is None else fit_pca(model, train)
    if pca is not None:
        scored["baselines"] = _score_baselines(model, pca, splits["test"], batch_size)
    if imputation:
        found = score_imputation(model, test, train, pca, seed)
        scored["test"] = dataclasses.replace(scored["test"], imputation=found)
    names = tuple(channel.name for channel in scored["test"].per_channel)
    network = float(keras.ops.convert_to_numpy(model.decoder.gain))
    result = Evaluation(split=split, channels=names, refine=refine, network=network, **scored)
    return dataclasses.replace(result, verdict=judge(result))


def _score(
    model: "NeuroBehaviorVAE",
    data: Data,
    most: int | None,
    batch_size: int,
    refine: int,
    iwae_samples: int,
    seed: int,
) -> JSON:
    """Fields of the `SplitScores` of at most so many windows, without imputation."""
    encoded, refined = Score(), Score()
    rng = np.random.default_rng(seed)
    log_weights, kls, mus, variances, observed = [], [], [], [], 0
    for x in _batches(data, batch_size, most):
        filled_up = np.concatenate([x, np.repeat(x[:1], max(0, batch_size - len(x)), axis=0)])
        posterior = model.encode(filled_up)
        weights = log_importance_weights(model, filled_up, posterior, iwae_samples, rng)
        log_weights.append(weights[: len(x)])
        mu, logvar = (part[: len(x)] for part in posterior)
        kls.append(keras.ops.convert_to_numpy(kl_divergence(mu, logvar)))
        mus.append(mu)
        variances.append(np.exp(logvar))
        observed += np.count_nonzero(~np.isnan(x))
        target = model.scaler.as_numpy(x)
        decoded = model.decode(posterior.mu, batch_size)[: len(x)]
        encoded.add(target, model.scaler.as_numpy(decoded))
        if refine:
            improved = model.reconstruct(filled_up, refine=refine)[: len(x)]
            refined.add(target, model.scaler.as_numpy(improved))
    if not mus:
        raise ValueError("There is no window to evaluate.")
    log_weights, mu, variance = (np.concatenate(p) for p in (log_weights, mus, variances))
    kl_per_latent = np.concatenate(kls).mean(axis=0, dtype="float64")
    aggregate_variance = variance.mean(axis=0, dtype="float64") + mu.var(axis=0, dtype="float64")
    elbo = float(log_weights.mean())
    bits = None
    if _in_nats(model):
        bits = float(-elbo * len(mu) / np.log(2) / max(observed, 1))
    names = _channels(data)
    return dict(
        **vars(encoded.result(names)),
        num_windows=len(mu),
        num_disjoint=_disjoint(data),
        elbo=elbo,
        iwae=float((logsumexp(log_weights, axis=1) - np.log(iwae_samples)).mean()),
        iwae_samples=iwae_samples,
        kl=float(kl_per_latent.sum()),
        kl_per_latent=tuple(kl_per_latent.tolist()),
        active_units=int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()),
        aggregate_mean=tuple(mu.mean(axis=0, dtype="float64").tolist()),
        aggregate_std=tuple(np.sqrt(aggregate_variance).tolist()),
        bits_per_sample=bits,
        refined=refined.result(names) if refine else None,
    )


def _score_baselines(model: "NeuroBehaviorVAE", pca: PCA, data: Data, batch_size: int) -> Baselines:
    """`Baselines` on all windows of `data`."""
    scores = {name: Score() for name in ("pca", "ppca", "mean")}
    likelihoods = []
    for x in _batches(data, batch_size):
        target = model.scaler.as_numpy(x)
        conditional, likelihood = probabilistic_pca(pca, target)
        likelihoods.append(likelihood)
        scores["pca"].add(target, pca_reconstruction(pca, target))
        scores["ppca"].add(target, conditional)
        scores["mean"].add(target, np.zeros_like(target))
    found: dict[str, Any] = {name: score.result(_channels(data)) for name, score in scores.items()}
    comparable = isinstance(model.likelihood, GaussianLikelihood) and _in_nats(model)
    elbo = float(np.concatenate(likelihoods).mean()) if comparable else None
    found["ppca"] = ProbabilisticReconstruction(**vars(found["ppca"]), elbo=elbo)
    return Baselines(**found)


def log_importance_weights(
    model: "NeuroBehaviorVAE",
    x: Array,
    posterior: Sequence[Array],
    samples: int,
    rng: np.random.Generator,
) -> Array:
    """`log p(x | z) + log p(z) - log q(z | x)` for draws `z` from `q`, `(N, samples)`.

    Their mean estimates the ELBO, the logarithm of the mean of their exponentials the tighter bound
    of Burda et al., 2016, which is the same for one draw and rises to `log p(x)` with their number.

    Args:
        model: `NeuroBehaviorVAE`.
        x: `(N, T, C)`, raw units.
        posterior: `(mu, logvar)`, each `(N, Z)`, as from `encode`.
        samples: Draws for each window.
        rng: `numpy.random.Generator`.
    """
    mu, logvar = (part.astype("float64") for part in posterior)
    columns = []
    for _ in range(samples):
        noise = rng.standard_normal(mu.shape)
        z = mu + np.exp(0.5 * logvar) * noise
        expected = model.decode(z.astype("float32"), batch_size=len(z))
        misfit = keras.ops.convert_to_numpy(model.likelihood.loss(x, expected, model.scaler))
        # The constants of the two normal densities cancel.
        prior, drawn = np.square(z), np.square(noise) + logvar
        columns.append(-misfit - 0.5 * (prior - drawn).sum(axis=1))
    return np.stack(columns, axis=1)


def readout_r2(
    train_codes: Array, train_targets: Array, test_codes: Array, test_targets: Array
) -> dict[str, list[float]]:
    """How well targets can be read from codes, as R2 on test data.

    A straight line is not the only way in which a code can hold a quantity, least of all a curved
    one, so there are two readouts: ridge regression, with the penalty chosen on the training data
    by leave-one-out cross-validation, and the mean of the 10 nearest neighbours among the
    training codes, each code scaled to unit variance.

    Args:
        train_codes, test_codes: `(n, Z)`, such as `mu`.
        train_targets, test_targets: `(n, L)`.

    Returns:
        Dictionary of `linear` and `neighbours`: R2 of each target, lists of `L` numbers.
    """
    readouts = {
        "linear": RidgeCV(np.logspace(-3, 3, 13)),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsRegressor(10)),
    }
    scores = {}
    for name, readout in readouts.items():
        predicted = readout.fit(train_codes, train_targets).predict(test_codes)
        scores[name] = r2_score(test_targets, predicted, multioutput="raw_values").tolist()
    return scores


def evaluate_run(
    path: PathLike,
    splits: Splits | None = None,
    batch_size: int = 256,
    refine: int | None = None,
    imputation: bool = True,
) -> Evaluation:
    """Evaluates a run on its test windows, and on those of validation and training.

    Writes `metrics.json` into the run folder.

    Args:
        path: Run folder.
        splits: The run's `Splits`; by default its files are read again.
        batch_size: Windows at a time.
        refine: Steps of refinement in `refined`, `REFINE` by default; 0 leaves it out.
        imputation: Whether to score how well the model fills in what is hidden from it.

    Returns:
        As `evaluate`. Where the run set no test data aside, `split` is `"valid"`, and `test` is of
        the validation windows. Where it was refitted, the model has seen the validation windows,
        and they are marked as `seen_in_training`.
    """
    run = RunFolder(path)
    refine = run.refine_steps(REFINE if refine is None else refine)
    if splits is None:
        splits = reload_splits(run.manifest)
    split = "test" if len(splits.test) else "valid"
    refitted = ("validation" if split == "test" else "test",) if run.refitted else ()
    result = evaluate(
        run.load_model(),
        getattr(splits, split),
        splits.train,
        splits.valid if split == "test" and len(splits.valid) else None,
        batch_size=batch_size,
        refine=refine,
        imputation=imputation,
        trained_on=("train", *refitted),
        split=split,
    )
    run.write_metrics(result.to_json())
    return result


def _windows_of(data: Data) -> Data:
    """The `Windows` that a dataset consists of; data that does not say stays as it is."""
    return getattr(data, "source", data)


def _count(data: Data) -> int | None:
    """How many windows there are, `None` where that is not known."""
    if isinstance(data, tuple):
        data = data[0]
    return len(data) if hasattr(data, "gather") or hasattr(data, "shape") else None


def _batches(data: Data, batch_size: int, most: int | None = None) -> Iterator[Array]:
    """NumPy batches of windows from `Windows`, an array or a dataset, at most so many in all."""
    count = _count(data)
    if most is not None and count != 0:
        batches = some_windows(data, most, batch_size)
        count = None if count is None else min(count, most)
    elif isinstance(data, Windows):
        batches = (
            data.gather(range(start, min(start + batch_size, len(data))))
            for start in range(0, len(data), batch_size)
        )
    else:
        batches = iterate_batches(data, batch_size)
    return tracked(batches, None if count is None else -(-count // batch_size), "Evaluating")


def _channels(data: Data) -> Sequence[str] | None:
    """Names of the channels, `None` where the data does not say."""
    return data.channels if isinstance(data, Windows) else None


def _disjoint(data: Data) -> int | None:
    """How many windows that share no sample fit into the samples, `None` if these are not known."""
    if not isinstance(data, Windows):
        return None
    spans = np.concatenate([data.covered(index) for index in range(len(data.recordings))])
    return int(((spans[:, 1] - spans[:, 0]) // data.seq_len).sum())


def _in_nats(model: "NeuroBehaviorVAE") -> bool:
    """Whether the ELBO is: not where the likelihood of a window is the mean of its entries."""
    return model.likelihood.in_nats and model.likelihood.reduction == "sum"
