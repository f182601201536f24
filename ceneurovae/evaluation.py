"""How good a model is on data it has not seen, beside PCA. Numbers only."""

import keras
import numpy as np
from scipy.special import logsumexp
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ceneurovae.baselines import fit_pca, pca_reconstruction
from ceneurovae.import_data import reload_splits
from ceneurovae.imputation import score_imputation
from ceneurovae.model.loss import kl_divergence
from ceneurovae.model.metrics import ACTIVE_VARIANCE
from ceneurovae.model.refine import REFINE
from ceneurovae.model.scaler import iterate_batches
from ceneurovae.run_folder import RunFolder
from ceneurovae.scores import Score
from ceneurovae.tracking import tracked
from ceneurovae.windows import Windows


def evaluate(
    model,
    test,
    train=None,
    batch_size=256,
    refine=REFINE,
    iwae_samples=16,
    imputation=True,
    seed=0,
):
    """Scores a model on windows that it has not seen.

    Errors are counted in scaled units, over observed entries:

    - `r2 = 1 - SSE / SST`, with SST about each channel's mean over the test data;
    - `skill = 1 - SSE / SSE0`, with SSE0 that of predicting the training mean. It is the larger
      one where the test data has drifted away from the training data.

    Args:
        model: `NeuroBehaviorVAE`, trained.
        test: Held-out windows: `Windows`, an array `(N, T, C)`, or a dataset of batches.
        train: Training windows, likewise, for the PCA that the model is compared with: as many
            components as latents, of whole scaled windows, missing entries at the mean. `None`
            leaves PCA out. Of more than 5000 windows, 5000 evenly spaced ones are used.
        batch_size: Windows at a time.
        refine: Steps of refinement in `refined`; 0 leaves it out.
        iwae_samples: Draws of the latents of each window, `K`.
        imputation: Whether to score how well the model fills in what is hidden from it.
        seed: Decides the draws, and what is hidden.

    Returns:
        Dictionary of JSON types: `windows`; `elbo` and `iwae`, means per window over the same `K`
        draws, with KL weight 1 (Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders",
        2016, equation 8), in nats where the likelihood is, and then `bits_per_sample`, minus
        `elbo` in bits per observed entry; `kl`, and `kl_per_latent` (nats); `active_latents` (those
        whose mean has a variance over windows of more than 0.01; same paper, section 5.2); and
        `vae`, the encoder, `refined`, and `pca`, each with `r2`, `skill` and `r2_per_channel`; and
        `imputation`, as of `score_imputation`.
    """
    scores = {"vae": Score()} | ({"refined": Score()} if refine else {})
    pca = None if train is None else fit_pca(model, train)
    if pca is not None:
        scores["pca"] = Score()
    rng = np.random.default_rng(seed)
    log_weights, kls, mus, observed = [], [], [], 0
    batches = -(-len(test) // batch_size) if isinstance(test, Windows) else None
    for x in tracked(_batches(test, batch_size), batches, "Evaluating"):
        posterior = model.encode(x)
        log_weights.append(log_importance_weights(model, x, posterior, iwae_samples, rng))
        kls.append(keras.ops.convert_to_numpy(kl_divergence(*posterior)))
        mus.append(posterior.mu)
        observed += np.count_nonzero(~np.isnan(x))
        target = model.scaler.as_numpy(x)
        decoded = model.decode(posterior.mu, batch_size)
        scores["vae"].add(target, model.scaler.as_numpy(decoded))
        if refine:
            refined = model.reconstruct(x, refine=refine)
            scores["refined"].add(target, model.scaler.as_numpy(refined))
        if pca is not None:
            scores["pca"].add(target, pca_reconstruction(pca, target))
    if not mus:
        raise ValueError("There is no window to evaluate.")
    log_weights, mu = np.concatenate(log_weights), np.concatenate(mus)
    kl_per_latent = np.concatenate(kls).mean(axis=0, dtype="float64")
    elbo = log_weights.mean()
    metrics = {
        "windows": len(mu),
        "elbo": float(elbo),
        "iwae": float((logsumexp(log_weights, axis=1) - np.log(iwae_samples)).mean()),
        "iwae_samples": iwae_samples,
        "kl": float(kl_per_latent.sum()),
        "kl_per_latent": kl_per_latent.tolist(),
        "active_latents": int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()),
    }
    if model.likelihood.in_nats:
        metrics["bits_per_sample"] = float(-elbo * len(mu) / np.log(2) / max(observed, 1))
    metrics |= {name: score.result() for name, score in scores.items()}
    if imputation:
        metrics["imputation"] = score_imputation(model, test, train, pca, seed)
    return metrics


def log_importance_weights(model, x, posterior, samples, rng):
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


def readout_r2(train_codes, train_targets, test_codes, test_targets):
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


def evaluate_run(path, splits=None, batch_size=256, refine=None, imputation=True):
    """Evaluates a run on its test windows, beside PCA of its training windows.

    Writes `metrics.json` into the run folder.

    Args:
        path: Run folder.
        splits: The run's `Splits`; by default its files are read again.
        batch_size: Windows at a time.
        refine: Steps of refinement in `refined`, `REFINE` by default; 0 leaves it out.
        imputation: Whether to score how well the model fills in what is hidden from it.

    Returns:
        As `evaluate`, with `refine`, the `channels` and the `split` that was scored: `"test"`, or
        `"valid"` where the run set no test data aside.
    """
    run = RunFolder(path)
    refine = run.refine_steps(REFINE if refine is None else refine)
    if splits is None:
        splits = reload_splits(run.manifest)
    split = "test" if len(splits.test) else "valid"
    metrics = evaluate(
        run.load_model(),
        getattr(splits, split),
        splits.train,
        batch_size,
        refine,
        imputation=imputation,
    )
    channels = list(splits.train.channels)
    metrics = {"split": split, "channels": channels, "refine": refine, **metrics}
    run.write_metrics(metrics)
    return metrics


def _batches(data, batch_size):
    """NumPy batches of windows from `Windows`, an array or a dataset."""
    if isinstance(data, Windows):
        return (
            data.gather(range(start, min(start + batch_size, len(data))))
            for start in range(0, len(data), batch_size)
        )
    return iterate_batches(data, batch_size)
