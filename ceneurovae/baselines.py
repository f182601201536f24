"""The simple methods that a model is compared with: PCA and its kin, interpolation, regression.

All work on scaled windows `(N, T, C)` of NumPy, NaN where missing: the training mean is 0.
"""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold

from ceneurovae.hints import Array, Data
from ceneurovae.model.loss import LOG_TWO_PI
from ceneurovae.model.missing import interpolated
from ceneurovae.model.scaler import some_windows

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

PCA_WINDOWS = 5000
PENALTIES = np.logspace(0, 6, 7)
# The penalty is chosen on blocks of windows that follow each other: neighbours are nearly the same.
BLOCKS = 4


def fit_pca(model: "NeuroBehaviorVAE", train: Data) -> PCA:
    """PCA of whole scaled training windows, with as many components as the model has latents."""
    windows = np.concatenate(list(some_windows(train, PCA_WINDOWS)))
    rows = _rows(model.scaler.as_numpy(windows))
    components = min(model.config.latent_dim, *rows.shape)
    return PCA(components, random_state=0).fit(rows)


def pca_codes(model: "NeuroBehaviorVAE", pca: PCA, windows: Array) -> Array:
    """Scores of whole scaled windows on principal components, `(N, Z)`, from raw ones."""
    return pca.transform(_rows(model.scaler.as_numpy(windows)))


def pca_reconstruction(pca: PCA, x: Array) -> Array:
    """Windows from their principal components, missing entries at the mean."""
    return pca.inverse_transform(pca.transform(_rows(x))).reshape(x.shape)


def probabilistic_pca(pca: PCA, x: Array) -> tuple[Array, Array]:
    """What probabilistic PCA makes of windows, given what was observed of them.

    Tipping & Bishop, "Probabilistic principal component analysis", 1999, equations 4 and 6, with
    the rows of `W` that were observed.

    Args:
        pca: Fitted by `fit_pca`.
        x: `(N, T, C)`, scaled.

    Returns:
        `(mean, log_likelihood)`: the conditional mean `(N, T, C)` of the noiseless window, and the
        exact log-likelihood `(N,)` of the observed entries, in nats.
    """
    rows = x.reshape(len(x), -1).astype("float64")
    observed = ~np.isnan(rows)
    deviations = np.where(observed, rows - pca.mean_, 0.0)
    noise = max(pca.noise_variance_, 1e-6)
    weights = pca.components_ * np.sqrt(np.maximum(pca.explained_variance_ - noise, 0))[:, None]
    projected = deviations @ weights.T
    codes, determinants = np.empty_like(projected), np.empty(len(rows))
    patterns, members = np.unique(observed, axis=0, return_inverse=True)
    for index, seen in enumerate(patterns):
        own = members.reshape(-1) == index
        matrix = weights[:, seen] @ weights[:, seen].T + noise * np.eye(len(weights))
        codes[own] = np.linalg.solve(matrix, projected[own].T).T
        determinants[own] = np.linalg.slogdet(matrix)[1]
    count = observed.sum(axis=1)
    determinants += (count - len(weights)) * np.log(noise)
    distances = (np.square(deviations).sum(axis=1) - (projected * codes).sum(axis=1)) / noise
    mean = (pca.mean_ + codes @ weights).astype(x.dtype).reshape(x.shape)
    return mean, -0.5 * (count * LOG_TWO_PI + determinants + distances)


def last_value(x: Array) -> Array:
    """The last observed value before, 0 where there is none."""
    x = x.copy()
    x[:, 0] = np.nan_to_num(x[:, 0], nan=0.0)
    for step in range(1, x.shape[1]):
        x[:, step] = np.where(np.isnan(x[:, step]), x[:, step - 1], x[:, step])
    return x


def ridge_prediction(train: Array, x: Array, targets: Array) -> Array:
    """Windows with some channels predicted from the others, by ridge regression.

    Args:
        train: `(n, T, C)`, windows to fit to.
        x: `(N, T, C)`.
        targets: `(C,)`, whether a channel is to be predicted.
    """
    search = GridSearchCV(Ridge(), {"alpha": PENALTIES}, cv=KFold(BLOCKS))
    rows, others = interpolated(train), interpolated(x).copy()
    search.fit(_rows(rows[:, :, ~targets]), _rows(rows[:, :, targets]))
    predicted = search.predict(_rows(others[:, :, ~targets]))
    others[:, :, targets] = predicted.reshape(*x.shape[:2], -1)
    return others


def _rows(windows: Array) -> Array:
    """Windows as rows `(n, T * C)`, missing entries at the mean."""
    return np.nan_to_num(windows, nan=0.0).reshape(len(windows), -1)
