"""Imputation scores and the simple methods beside them: against closed forms and definitions."""

import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from ceneurovae import NeuroBehaviorVAE, baselines
from ceneurovae.evaluation_table import imputation_table
from ceneurovae.imputation import score_imputation


@pytest.fixture
def holes():
    """`(20, 6, 3)`, a third missing; one channel of a window and one window throughout."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 6, 3)).astype("float32")
    x[rng.random(x.shape) < 0.3] = np.nan
    x[0, :, 1] = x[1] = np.nan
    return x


def test_probabilistic_pca_is_the_normal_distribution_of_its_covariance(holes):
    train = np.random.default_rng(1).normal(size=(100, 18)) @ np.diag(np.linspace(3, 0.1, 18))
    pca = PCA(4).fit(train)
    filled, likelihoods = baselines.probabilistic_pca(pca, holes)
    covariance = pca.get_covariance()
    rows = zip(holes.reshape(20, 18), filled.reshape(20, 18), likelihoods, strict=True)
    for row, found, likelihood in rows:
        seen = ~np.isnan(row)
        weights = np.linalg.solve(covariance[np.ix_(seen, seen)], (row - pca.mean_)[seen])
        expected = pca.mean_[~seen] + covariance[np.ix_(~seen, seen)] @ weights
        np.testing.assert_allclose(found[~seen], expected, atol=1e-4)
        expected = 0.0
        if seen.any():
            known = multivariate_normal(pca.mean_[seen], covariance[np.ix_(seen, seen)])
            expected = known.logpdf(row[seen])
        assert likelihood == pytest.approx(expected, abs=1e-6)


def test_the_last_value_is_carried_forward(holes):
    carried = baselines.last_value(holes)
    for window, filled in zip(holes, carried, strict=True):
        for channel in range(3):
            last = 0.0
            for step in range(6):
                value = window[step, channel]
                last = last if np.isnan(value) else value
                assert filled[step, channel] == last


def test_ridge_finds_a_channel_that_is_a_sum_of_the_others(holes):
    train = np.random.default_rng(2).normal(size=(200, 6, 3)).astype("float32")
    train[..., 2] = train[..., 0] - 2 * train[..., 1]
    test, targets = train[150:].copy(), np.array([False, False, True])
    truth = test[..., 2].copy()
    test[..., 2] = np.nan
    predicted = baselines.ridge_prediction(train[:150], test, targets)
    np.testing.assert_array_equal(predicted[..., :2], test[..., :2])
    assert np.square(predicted[..., 2] - truth).mean() < 0.01 * truth.var()


def test_scores_are_of_what_was_hidden_and_beside_simple_methods():
    model = NeuroBehaviorVAE(tiny_config(channel_groups=("neural", "neural", "behavior")))
    train, test = make_windows(60), make_windows(20, seed=1)
    model.adapt(train)
    model.adapt_residual(train)
    pca = baselines.fit_pca(model, train)
    scores = score_imputation(model, test, train, pca)
    assert list(scores) == [
        "entries",
        "spans",
        "end",
        "channels",
        "neural from the others",
        "behavior from the others",
    ]
    common = {"vae", "interpolation", "mean", "ppca", "coverage"}
    assert set(scores["spans"]) == common
    assert set(scores["end"]) == common | {"last"}
    assert set(scores["behavior from the others"]) == common | {"ridge"}
    for row in scores.values():
        assert max(row.values()) <= 1
        assert -0.2 < row["mean"] <= 0  # of the training data, about that of the test data
        assert row["vae"] > row["mean"]
        assert 0 < row["coverage"] < 1
    assert score_imputation(model, test, train, pca) == scores
    model.residual.own.assign(100 * keras.ops.convert_to_numpy(model.residual.own))
    assert score_imputation(model, test)["spans"]["coverage"] > 0.99


def test_the_table_has_a_column_for_each_method_and_coverage_last():
    scores = {
        "entries": {"vae": 0.5, "mean": 0.0, "coverage": 0.9},
        "end": {"vae": 0.25, "mean": None, "last": 0.125},
    }
    table = imputation_table(scores)
    cells = {column.header: list(column.cells) for column in table.columns}
    assert list(cells) == ["hidden", "VAE", "mean", "last", "coverage"]
    assert cells["VAE"] == ["0.500", "0.250"]
    assert cells["mean"] == ["0.000", "-"]
    assert cells["last"] == ["-", "0.125"]
    assert cells["coverage"] == ["0.900", "-"]
