"""How near the ELBO of a linear model is to the exact likelihood: where everything is known.

    KERAS_BACKEND=jax python tests/benchmarks/exact.py
    KERAS_BACKEND=torch python tests/benchmarks/exact.py --draws 10

Draws windows of a factor model, fits `backbone="linear"` to 2000 of them with `adapt` alone and
with a short training beside, and prints a table for the current backend, of 500 others. `pca` is
the held-out log-likelihood of probabilistic PCA in closed form (`sklearn`), `exact` that of the
model's own loadings and noise, and `elbo` and `iwae` the bounds on it; nats per window of scaled
data. The posterior is that of `encode`; `--encoder-steps 0` leaves out its 2 steps on the decoder,
so that the encoder stands alone. `mean` is the root mean square error of the posterior means and
`var` the largest error of their variances in any window, in percent of the spread of the exact
means and of the exact variances.
"""

import argparse

import keras
import numpy as np
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from ceneurovae import NeuroBehaviorVAE, VAEConfig
from ceneurovae.evaluation import log_importance_weights

CASES = ((5, 3, 2, 0.3), (5, 3, 2, 1.0), (20, 4, 3, 0.5), (30, 10, 5, 0.5))  # T, C, factors, noise
TRAIN, TEST = 2000, 500
COLUMNS = ("T", "C", "Z", "noise", "epochs", "pca", "exact", "elbo", "iwae", "mean %", "var %")


def factor_data(steps, channels, factors, noise):
    """Training and held-out windows `(n, T, C)` of one factor model."""
    rng = np.random.default_rng(0)
    # Factors that are smooth in time, on all channels; the first counts most.
    phase = np.arange(factors)[:, None] + np.linspace(0, np.pi, steps)
    loadings = np.sin(phase)[:, :, None] * rng.normal(size=(factors, 1, channels))
    loadings *= np.linspace(2, 1, factors)[:, None, None]
    z = rng.normal(size=(TRAIN + TEST, factors))
    x = np.einsum("nf,ftc->ntc", z, loadings)
    x = (x + noise * rng.normal(size=x.shape)).astype("float32")
    return x[:TRAIN], x[TRAIN:]


def exact_posterior(model, x):
    """Means `(N, Z)` and variances `(Z,)` of a linear model, and `log p(x)` `(N,)`."""
    latents = model.config.latent_dim
    z = np.concatenate([np.zeros((1, latents)), np.eye(latents)]).astype("float32")
    decoded = scaled_rows(model, model.decode(z))
    loadings, rows = decoded[1:] - decoded[0], scaled_rows(model, x) - decoded[0]
    noise = float(keras.ops.convert_to_numpy(model.likelihood.variance)[0])
    covariance = np.linalg.inv(np.eye(latents) + loadings @ loadings.T / noise)
    total = loadings.T @ loadings + noise * np.eye(rows.shape[1])
    logdet = np.linalg.slogdet(2 * np.pi * total)[1]
    squares = np.einsum("ni,ni->n", rows, np.linalg.solve(total, rows.T).T)
    mean = rows @ loadings.T @ covariance / noise
    return mean, np.diag(covariance), -0.5 * (logdet + squares)


def scaled_rows(model, x):
    return keras.ops.convert_to_numpy(model.scaler(x)).reshape(len(x), -1).astype("float64")


def scores(model, train, test, draws):
    """The numbers of one row of the table, from `pca` on; `iwae` is a list."""
    pca = PCA(model.config.latent_dim).fit(scaled_rows(model, train))
    mean, variance, likelihood = exact_posterior(model, test)
    posterior = model.encode(test)
    rng = np.random.default_rng(0)
    weights = log_importance_weights(model, test, posterior, max(draws), rng)
    iwae = [np.mean(logsumexp(weights[:, :k], axis=1) - np.log(k)) for k in draws]
    error = np.sqrt(np.mean(np.square(posterior.mu - mean), axis=0)) / mean.std(axis=0)
    spread = np.abs(np.exp(posterior.logvar) / variance - 1)
    return (
        pca.score(scaled_rows(model, test)),
        likelihood.mean(),
        weights.mean(),
        iwae,
        100 * error.max(),
        100 * spread.max(),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 10, 100], metavar="K")
    parser.add_argument("--epochs", type=int, default=5, help="of the short training")
    parser.add_argument("--encoder-steps", type=int, default=2, help="0 for the encoder alone")
    arguments = parser.parse_args()
    print(f"Backend {keras.backend.backend()}; iwae for K = {arguments.draws}")
    names = [*COLUMNS[:8], *(f"iwae {k}" for k in arguments.draws), *COLUMNS[9:]]
    print(" ".join(f"{name:>8}" for name in names))
    for steps, channels, factors, noise in CASES:
        train, test = factor_data(steps, channels, factors, noise)
        for epochs in (0, arguments.epochs):
            keras.utils.set_random_seed(0)
            config = VAEConfig(
                seq_len=steps,
                channels=channels,
                latent_dim=factors,
                backbone="linear",
                reconstruction_loss="gaussian",
                augment=False,
                encoder_steps=arguments.encoder_steps,
            )
            model = NeuroBehaviorVAE(config)
            model.adapt(train, shrinkage=0.0)
            if epochs:
                model.compile(optimizer=keras.optimizers.Adam(5e-4))
                model.fit(train, epochs=epochs, batch_size=50, verbose=0)
            pca, exact, elbo, iwae, *errors = scores(model, train, test, arguments.draws)
            row = [steps, channels, factors, noise, epochs, pca, exact, elbo, *iwae, *errors]
            print(" ".join(f"{v:8.3f}" if isinstance(v, float) else f"{v:8d}" for v in row))


if __name__ == "__main__":
    main()
