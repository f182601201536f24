"""The baselines of the quality benchmark, against what is known of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn import decomposition

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import baselines


@pytest.fixture
def data():
    """Windows `(300, 6, 2)` of three latents and noise, half of them to train on."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12)) + 0.3 * rng.normal(size=(300, 12))
    return x.reshape(300, 6, 2)


def with_gaps(x, share=0.2, seed=1):
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x)


@pytest.mark.parametrize("samples", [8, 200], ids=["wide", "tall"])
def test_pca_is_that_of_scikit_learn(data, samples):
    theirs = decomposition.PCA(2, svd_solver="full").fit(data[:samples].reshape(samples, -1))
    expected = theirs.inverse_transform(theirs.transform(data.reshape(300, -1)))
    ours = baselines.PCA(2).fit(data[:samples], data[:0])
    np.testing.assert_allclose(ours.reconstruct(data).reshape(300, -1), expected, atol=1e-8)


def test_probabilistic_pca_is_that_of_scikit_learn(data):
    theirs = decomposition.PCA(3, svd_solver="full").fit(data.reshape(300, -1))
    ours = baselines.ProbabilisticPCA(3).fit(data * 1.0, data[:0])
    covariance = ours.weights @ ours.weights.T + ours.noise * np.eye(12)
    # scikit-learn divides by n - 1, the maximum of the likelihood by n.
    np.testing.assert_allclose(covariance, theirs.get_covariance() * 299 / 300, atol=1e-8)


def test_probabilistic_pca_with_gaps_is_the_marginal_and_the_conditional(data):
    model = baselines.ProbabilisticPCA(3).fit(data, data[:0])
    covariance = model.weights @ model.weights.T + model.noise * np.eye(12)
    x = with_gaps(data[:20])
    likelihoods, filled = model.log_likelihood(x), model.impute(x).reshape(20, -1)
    for row, likelihood, full in zip(x.reshape(20, -1), likelihoods, filled, strict=True):
        seen = ~np.isnan(row)
        known = covariance[np.ix_(seen, seen)]
        expected = multivariate_normal(model.mean[seen], known).logpdf(row[seen])
        assert likelihood == pytest.approx(expected)
        weights = np.linalg.solve(known, (row - model.mean)[seen])
        conditional = model.mean[~seen] + covariance[np.ix_(~seen, seen)] @ weights
        np.testing.assert_allclose(full[~seen], conditional, atol=1e-8)


def test_interpolation_and_last_value_at_known_places():
    x = np.array([np.nan, 1.0, np.nan, 3.0, np.nan]).reshape(1, 5, 1)
    x = np.concatenate([x, np.full_like(x, np.nan)], axis=2)
    line, last = baselines.Interpolation().impute(x), baselines.LastValue().impute(x)
    np.testing.assert_array_equal(line[0, :, 0], [1, 1, 2, 3, 3])
    np.testing.assert_array_equal(last[0, :, 0], [0, 1, 1, 3, 3])
    assert not line[0, :, 1].any() and not last[0, :, 1].any()


@pytest.mark.parametrize(
    "model",
    [
        baselines.ChannelMean(),
        baselines.Interpolation(),
        baselines.LastValue(),
        baselines.ProbabilisticPCA(2),
        baselines.WindowGaussian([with_gaps]),
        baselines.RidgeDecoder([1]),
        baselines.PlainVAE(2),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("refit", [False, True])
def test_imputing_keeps_what_was_observed(data, model, refit):
    x = with_gaps(data[200:])
    train, valid = with_gaps(data[:150]), data[150:200]
    both = np.concatenate([train, valid]) if refit else None
    filled = model.fit(train, valid, refit=both).impute(x)
    observed = ~np.isnan(x)
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[observed], x[observed], rtol=1e-6)


def test_models_of_the_window_impute_better_than_the_mean(data):
    x, truth = with_gaps(data[200:]), data[200:]
    for model in (baselines.ProbabilisticPCA(3), baselines.WindowGaussian([with_gaps])):
        error = np.square(model.fit(data[:150], data[150:200]).impute(x) - truth).sum()
        assert error < 0.2 * np.square(np.where(np.isnan(x), truth, 0)).sum()


def test_poisson_bits():
    assert baselines.poisson_bits(np.array([[[0.0], [np.nan]]]), 1.0) == pytest.approx(
        1 / np.log(2)
    )
