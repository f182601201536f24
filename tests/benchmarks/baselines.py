"""What the quality benchmark compares with: NumPy, scikit-learn and PyTorch only.

All work on scaled windows `(n, T, C)`: each channel has mean 0 and standard deviation 1 in the
training data, and NaN means missing. They share one interface:

- `fit(train, valid, refit=None)` fits to `train`; `valid` is for choices, and `refit` is what to
  fit to once they are made, if it is not `train`. Returns itself.
- `reconstruct(x)` passes windows through the latents;
- `impute(x)` gives windows without NaN, those that were observed as they are.

Where a method has no latents it has no `reconstruct`.
"""

import copy

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

SHRINKAGES = (0.001, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9)
VALID_WINDOWS = 100  # to choose the shrinkage with
MAX_ENTRIES = 1500  # in a window, for the methods that invert a matrix per window


def interpolated(x):
    """Missing entries on the line between observed neighbours in time, level beyond them.

    Where a channel is missing throughout a window, it is at its mean, 0.
    """
    x = np.array(x, dtype="float64")
    time = np.arange(x.shape[1])
    columns = x.swapaxes(1, 2)  # a view
    for window, channel in np.argwhere(np.isnan(columns).any(axis=2)):
        values = columns[window, channel]
        observed = ~np.isnan(values)
        known = (time[observed], values[observed]) if observed.any() else (time, 0 * time)
        columns[window, channel] = np.interp(time, *known)
    return x


def kept(x, estimate):
    """`estimate` where `x` is missing, `x` elsewhere."""
    return np.where(np.isnan(x), estimate, x)


def rows(x):
    """Windows as rows `(n, T * C)`, interpolated."""
    return interpolated(x).reshape(len(x), -1)


def final(train, refit):
    return train if refit is None else refit


def principal(centred, count):
    """Leading variances `(count,)` and directions `(count, D)` of rows, and the total variance.

    Exact, by way of the smaller of the covariance and the Gram matrix.
    """
    samples, entries = centred.shape
    count = min(count, samples, entries)
    wide = entries > samples
    matrix = (centred @ centred.T if wide else centred.T @ centred) / samples
    variances, vectors = np.linalg.eigh(matrix)
    variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
    if wide:
        vectors = centred.T @ vectors / np.sqrt(samples * np.maximum(variances, 1e-300))
    return variances, vectors.T, np.trace(matrix)


class ChannelMean:
    """The training mean."""

    def fit(self, train, valid, refit=None):
        return self

    def impute(self, x):
        return kept(x, 0.0)


class Interpolation(ChannelMean):
    """Linear interpolation in time."""

    def impute(self, x):
        return interpolated(x)


class LastValue(ChannelMean):
    """The last value before, or the mean where there is none: the simplest forecast."""

    def impute(self, x):
        x = np.array(x)
        x[:, 0] = kept(x[:, 0], 0.0)
        for step in range(1, x.shape[1]):
            x[:, step] = kept(x[:, step], x[:, step - 1])
        return x


class PCA:
    """Principal components of whole windows.

    Args:
        latents: Number of components.
        centred: Whether the mean window is subtracted.
        interpolate: Whether missing entries are interpolated, or put at the mean.
    """

    def __init__(self, latents, centred=True, interpolate=True):
        self.latents, self.centred, self.interpolate = latents, centred, interpolate

    def _rows(self, x):
        return rows(x) if self.interpolate else np.nan_to_num(x, nan=0.0).reshape(len(x), -1)

    def fit(self, train, valid, refit=None):
        x = self._rows(final(train, refit)).astype("float64")
        self.mean = x.mean(axis=0) if self.centred else 0.0
        _, self.components, _ = principal(x - self.mean, self.latents)
        return self

    def reconstruct(self, x):
        scores = (self._rows(x) - self.mean) @ self.components.T
        return (scores @ self.components + self.mean).reshape(x.shape)


class ProbabilisticPCA:
    """Probabilistic PCA of whole windows, in closed form, and exact with missing entries.

    `x = W z + mean + noise` (Tipping & Bishop, "Probabilistic principal component analysis", 1999,
    equations 7 and 8). Training windows are interpolated; at use, what is missing is left out.

    Args:
        latents: Number of components.
    """

    def __init__(self, latents):
        self.latents = latents

    def fit(self, train, valid, refit=None):
        x = rows(final(train, refit))
        self.mean = x.mean(axis=0)
        variances, components, total = principal(x - self.mean, self.latents)
        rest = max(x.shape[1] - len(variances), 1)
        self.noise = max((total - variances.sum()) / rest, 1e-6)
        self.weights = components.T * np.sqrt(np.maximum(variances - self.noise, 0))
        return self

    def _posterior(self, x):
        """Observed entries `(n, D)`, deviations `(n, D)`, `W'x` and `E[z]` `(n, Z)`, `M`."""
        x = np.asarray(x, dtype="float64").reshape(len(x), -1)
        observed = ~np.isnan(x)
        deviation = np.where(observed, x - self.mean, 0.0)
        size = self.weights.shape[1]
        squares = (self.weights[:, :, None] * self.weights[:, None]).reshape(-1, size * size)
        matrix = (observed.astype("float64") @ squares).reshape(-1, size, size)
        matrix += self.noise * np.eye(size)
        projection = deviation @ self.weights
        mean = np.linalg.solve(matrix, projection[:, :, None])[:, :, 0]
        return observed, deviation, projection, mean, matrix

    def reconstruct(self, x):
        mean = self._posterior(x)[3]
        return (mean @ self.weights.T + self.mean).reshape(x.shape)

    def impute(self, x):
        return kept(x, self.reconstruct(x))

    def log_likelihood(self, x):
        """Nats of the observed, scaled entries of each window, `(n,)`."""
        observed, deviation, projection, mean, matrix = self._posterior(x)
        count, size = observed.sum(axis=1), self.weights.shape[1]
        distance = (np.square(deviation).sum(axis=1) - (projection * mean).sum(axis=1)) / self.noise
        determinant = np.linalg.slogdet(matrix)[1] + (count - size) * np.log(self.noise)
        return -0.5 * (count * np.log(2 * np.pi) + determinant + distance)


class WindowGaussian:
    """A Gaussian of whole windows, its covariance shrunk to the diagonal as validation likes it.

    `S = (1 - a) cov + a diag(cov)`, with `a` the one of `SHRINKAGES` that gives the smallest error
    on hidden entries of validation windows.

    Args:
        hide: Functions that give an array of windows with some of the observed entries at NaN, to
            choose the shrinkage with.
    """

    def __init__(self, hide):
        self.hide = hide

    def fit(self, train, valid, refit=None):
        self._moments(train)
        chosen = valid[np.linspace(0, len(valid) - 1, min(len(valid), VALID_WINDOWS)).astype(int)]
        hidden = [hide(chosen) for hide in self.hide]
        errors = []
        for self.shrinkage in SHRINKAGES:
            estimates = [self.impute(x) for x in hidden]
            errors.append(sum(np.nansum(np.square(chosen - e)) for e in estimates))
        self.shrinkage = SHRINKAGES[int(np.argmin(errors))]
        if refit is not None:
            self._moments(final(train, refit))
        return self

    def _moments(self, train):
        x = rows(train)
        self.mean = x.mean(axis=0)
        self.covariance = np.cov(x, rowvar=False, bias=True)

    def impute(self, x):
        """The conditional mean of what is missing given what is observed."""
        matrix = (1 - self.shrinkage) * self.covariance
        matrix[np.diag_indices_from(matrix)] = np.diag(self.covariance) + 1e-6
        result = np.array(x, dtype="float64").reshape(len(x), -1)
        for row in result:
            known, missing = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
            if len(missing):
                weights = np.linalg.solve(matrix[np.ix_(known, known)], (row - self.mean)[known])
                row[missing] = self.mean[missing] + matrix[np.ix_(missing, known)] @ weights
        return result.reshape(x.shape)


class RidgeDecoder:
    """Ridge regression of some channels of a window on its other channels.

    Args:
        targets: Indices of the channels to predict.
    """

    def __init__(self, targets):
        self.targets = list(targets)

    def _features(self, x):
        return rows(np.delete(x, self.targets, axis=2))

    def _values(self, x):
        return rows(x[:, :, self.targets])

    def fit(self, train, valid, refit=None):
        features, values = self._features(train), self._values(train)
        candidates = [Ridge(penalty).fit(features, values) for penalty in np.logspace(0, 6, 13)]
        scores = [c.score(self._features(valid), self._values(valid)) for c in candidates]
        self.ridge = candidates[int(np.argmax(scores))]
        if refit is not None:
            both = final(train, refit)
            self.ridge.fit(self._features(both), self._values(both))
        return self

    def impute(self, x):
        """Fills the target channels; of the others, what is missing is interpolated."""
        estimate = interpolated(x)
        shape = (*x.shape[:2], len(self.targets))
        estimate[:, :, self.targets] = self.ridge.predict(self._features(x)).reshape(shape)
        return kept(x, estimate)


class ConvolutionalVAE(nn.Module):
    """Two strided convolutions down, linear to `mu` and `logvar`, and the mirror image up."""

    def __init__(self, steps, channels, latents):
        super().__init__()
        self.steps, reduced = steps, -(-steps // 4)
        self.down = nn.Sequential(
            nn.Conv1d(channels, 64, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(64, 128, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mu = nn.Linear(128 * reduced, latents)
        self.logvar = nn.Linear(128 * reduced, latents)
        self.up = nn.Sequential(
            nn.Linear(latents, 128 * reduced),
            nn.ReLU(),
            nn.Unflatten(1, (128, reduced)),
            nn.ConvTranspose1d(128, 64, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(64, channels, 5, stride=2, padding=2, output_padding=1),
        )

    def forward(self, x):
        hidden = self.down(torch.nan_to_num(x).transpose(1, 2))
        mu, logvar = self.mu(hidden), self.logvar(hidden)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu) if self.training else mu
        return self.up(z).transpose(1, 2)[:, : self.steps], mu, logvar

    def loss(self, x):
        """Squared error of the observed entries plus KL, mean over the batch."""
        reconstruction, mu, logvar = self(x)
        error = torch.where(torch.isnan(x), 0.0, x - reconstruction).square().sum((1, 2))
        return (error + 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)).mean()


class PlainVAE:
    """The convolutional VAE that a user would write: Adam, squared error, KL weight 1.

    Args:
        latents: Number of latents.
        seed: Decides weights, order and draws.
    """

    epochs, patience, batch_size, learning_rate = 60, 10, 64, 1e-3

    def __init__(self, latents, seed=0):
        self.latents, self.seed = latents, seed

    def fit(self, train, valid, refit=None):
        best = self._train(train, self.epochs, valid)
        if refit is not None:
            self._train(final(train, refit), best)
        return self

    def _train(self, train, epochs, valid=None):
        """Trains, keeps the weights that are best on `valid`; the number of epochs that took."""
        torch.set_num_threads(1)  # so small a network waits for its threads more than it computes
        torch.manual_seed(self.seed)
        self.network = ConvolutionalVAE(*train.shape[1:], self.latents)
        optimizer = torch.optim.Adam(self.network.parameters(), self.learning_rate)
        train = torch.tensor(train, dtype=torch.float32)
        best, best_epoch, weights = np.inf, 0, None
        for epoch in range(1, epochs + 1):
            self.network.train()
            for batch in torch.randperm(len(train)).split(self.batch_size):
                optimizer.zero_grad()
                self.network.loss(train[batch]).backward()
                optimizer.step()
            self.network.eval()
            if valid is not None:
                with torch.no_grad():
                    loss = float(self.network.loss(torch.tensor(valid, dtype=torch.float32)))
                if loss < best:
                    best, best_epoch = loss, epoch
                    weights = copy.deepcopy(self.network.state_dict())
                elif epoch - best_epoch >= self.patience:
                    break
        if weights is not None:
            self.network.load_state_dict(weights)
        return best_epoch

    def reconstruct(self, x):
        with torch.no_grad():
            return self.network(torch.tensor(x, dtype=torch.float32))[0].numpy()

    def impute(self, x):
        return kept(x, self.reconstruct(x))


def poisson_bits(counts, rates):
    """Bits per observed sample of counts `(n, T, C)` under Poisson rates that broadcast to it."""
    from scipy.stats import poisson

    observed = ~np.isnan(counts)
    nats = -poisson.logpmf(counts[observed], np.broadcast_to(rates, counts.shape)[observed])
    return float(nats.mean() / np.log(2))
