"""Imputation: exact on normal data, whatever is missing; what was observed stays as it is."""

import keras
import numpy as np
import pytest
from conftest import tiny_config
from keras import ops
from test_refine import moved_model

from ceneurovae import NeuroBehaviorVAE
from ceneurovae.model import residual
from ceneurovae.model.residual import ResidualGaussian

STEPS, CHANNELS, LATENTS = 6, 3, 2


@pytest.fixture(scope="module")
def layer():
    """A `ResidualGaussian` of correlated noise."""
    rng = np.random.default_rng(0)
    layer = ResidualGaussian(STEPS, CHANNELS)
    layer.build()
    mixing = rng.normal(size=(STEPS * CHANNELS, STEPS * CHANNELS))
    residuals = (rng.normal(size=(200, STEPS * CHANNELS)) @ mixing).reshape(-1, STEPS, CHANNELS)
    moments = residual._moments(layer, residuals.astype("float32"))
    layer.assign(moments, shared=0.7, stationary=0.3, drift=0.1, level=1.5)
    return layer


def covariance_of(layer, slopes):
    """`(T * C, T * C)`, as the docstring has it."""
    loadings = ops.convert_to_numpy(layer.loadings()).transpose(1, 0, 2).astype("float64")
    loadings = loadings.reshape(STEPS * CHANNELS, -1)
    covariance = loadings @ loadings.T + slopes @ slopes.T
    own = ops.convert_to_numpy(layer.own)
    for channel in range(CHANNELS):
        chosen = np.arange(STEPS) * CHANNELS + channel
        covariance[np.ix_(chosen, chosen)] += own[channel]
    return covariance


def conditional(covariance, row):
    """Mean and covariance of the missing entries of a row, given the others."""
    seen = ~np.isnan(row)
    weights = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, ~seen)])
    rest = covariance[np.ix_(~seen, ~seen)] - covariance[np.ix_(~seen, seen)] @ weights
    return row[seen] @ weights, rest


@pytest.fixture
def holes():
    """Windows `(5, T, C)`: complete, with holes, without a channel, with one entry, with none."""
    x = np.random.default_rng(1).normal(size=(5, STEPS, CHANNELS)).astype("float32")
    x[1, 2:4, 0] = x[1, 5:, 2] = np.nan
    x[2, :, 1] = np.nan
    x[3] = np.where(np.arange(STEPS * CHANNELS).reshape(STEPS, CHANNELS) == 4, 1.0, np.nan)
    x[4] = np.nan
    return x


def test_components_that_do_not_count_can_be_left_out(layer, holes):
    few = ResidualGaussian(STEPS, CHANNELS)
    few.build()
    residuals = np.random.default_rng(0).normal(size=(200, STEPS, CHANNELS)).astype("float32")
    few.assign(residual._moments(few, residuals), shared=0.7, stationary=0.3, drift=0.1, rank=4)
    slopes = np.zeros((5, STEPS, CHANNELS, LATENTS), "float32")
    whole = ops.convert_to_numpy(few.condition(holes, slopes))
    for shape, rank in ((LATENTS, 4), (0, 4), (0, 64)):
        found = ops.convert_to_numpy(few.condition(holes, slopes[..., :shape], rank=rank))
        np.testing.assert_allclose(found, whole, atol=1e-5)
    less = ops.convert_to_numpy(few.condition(holes, slopes, rank=3))
    assert np.abs(less - whole).max() > 1e-3


def test_the_conditional_mean_is_that_of_the_covariance(layer, holes):
    slopes = np.random.default_rng(2).normal(size=(5, STEPS, CHANNELS, LATENTS)).astype("float32")
    filled = ops.convert_to_numpy(layer.condition(holes, slopes))[..., 0].reshape(5, -1)
    rows = holes.reshape(5, -1).astype("float64")
    for row, found, slope in zip(rows, filled, slopes, strict=True):
        covariance = covariance_of(layer, slope.reshape(-1, LATENTS).astype("float64"))
        seen = ~np.isnan(row)
        np.testing.assert_allclose(found[seen], row[seen], atol=1e-3)
        np.testing.assert_allclose(found[~seen], conditional(covariance, row)[0], atol=1e-3)


def test_draws_have_the_conditional_mean_and_covariance(layer, holes):
    slopes = np.random.default_rng(2).normal(size=(1, STEPS, CHANNELS, LATENTS)).astype("float32")
    layer.reseed(0)
    draws = ops.convert_to_numpy(layer.condition(holes[1:2], slopes, 20_000)).reshape(-1, 20_001)
    row = holes[1].reshape(-1).astype("float64")
    covariance = covariance_of(layer, slopes[0].reshape(-1, LATENTS).astype("float64"))
    mean, rest = conditional(covariance, row)
    np.testing.assert_allclose(draws[np.isnan(row), 0], mean, atol=1e-3)
    drawn, scale = draws[np.isnan(row), 1:], np.sqrt(np.diag(rest))
    # 5 standard errors of a mean and of a covariance of 20,000 draws
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=5 * scale.max() / 141)
    np.testing.assert_allclose(np.cov(drawn), rest, atol=5 * 1.5 * scale.max() ** 2 / 141)
    layer.reseed(0)
    again = ops.convert_to_numpy(layer.condition(holes[1:2], slopes, 20_000)).reshape(-1, 20_001)
    np.testing.assert_array_equal(draws, again)


def test_with_much_drift_it_is_linear_interpolation():
    layer = ResidualGaussian(STEPS, CHANNELS)
    layer.build()
    white = np.random.default_rng(0).normal(size=(50, STEPS, CHANNELS)).astype("float32")
    layer.assign(residual._moments(layer, white), shared=0.0, stationary=1.0, drift=1e3)
    x = np.full((1, STEPS, CHANNELS), np.nan, "float32")
    x[0, 1], x[0, 4] = 1.0, 4.0
    filled = ops.convert_to_numpy(layer.condition(x, np.zeros((*x.shape, 1), "float32")))
    np.testing.assert_allclose(filled[0, 1:5, 0, 0], [1, 2, 3, 4], atol=0.01)


def test_before_training_it_is_the_conditional_mean_of_ppca(windows):
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(windows)
    x = windows.copy()
    x[:, 3:8, 0] = np.nan
    path = model.decoder.linear
    scores = ops.convert_to_numpy(path.expectation(np.eye(2, dtype="float32")))
    loadings = ops.convert_to_numpy(path.inverse(scores)).reshape(2, -1).astype("float64").T
    covariance = loadings @ loadings.T + float(ops.convert_to_numpy(path.noise)) * np.eye(
        len(loadings)
    )
    filled = ops.convert_to_numpy(model.scaler(model.impute(x))).reshape(len(x), -1)
    rows = ops.convert_to_numpy(model.scaler(x)).reshape(len(x), -1).astype("float64")
    for row, found in zip(rows, filled, strict=True):
        expected = conditional(covariance, row)[0]
        np.testing.assert_allclose(found[np.isnan(row)], expected, atol=2e-3)


def test_what_was_observed_stays_and_the_rest_is_filled(windows):
    model = moved_model(windows)
    choices = model.adapt_residual(windows[:40], windows[40:])
    assert set(choices) == {"network", "rank", "shared", "stationary", "drift", "level"}
    windows[0] = np.nan
    mask = ~np.isnan(windows)
    filled = model.impute(windows)
    np.testing.assert_array_equal(filled[mask], windows[mask])
    assert np.isfinite(filled).all()
    other = np.where(mask, windows, -999.0).astype("float32")
    np.testing.assert_array_equal(model.impute((other, mask)), filled)


def test_the_rank_is_that_of_what_channels_share(windows):
    model = moved_model(windows)
    choices = {"network": 1, "shared": 1.0, "stationary": 0.0, "drift": 0.0, "level": 1.0}
    for rank in (2, 64):
        model.adapt_residual(windows, choices={**choices, "rank": rank})
        loadings = ops.convert_to_numpy(model.residual.loadings())
        found = np.linalg.matrix_rank(loadings.reshape(-1, loadings.shape[-1]))
        assert found == min(rank, loadings.shape[-1])


def test_it_is_saved_with_the_model(windows, tmp_path):
    model = moved_model(windows)
    model.adapt_residual(windows)
    windows[:, 4:9] = np.nan
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.impute(windows), model.impute(windows), rtol=1e-4, atol=1e-4)


@pytest.mark.once
def test_the_choices_fit_the_data(windows):
    model = moved_model(windows)
    rng = np.random.default_rng(0)
    steps = model.config.seq_len
    walks = np.cumsum(rng.normal(size=(200, steps, windows.shape[2])), axis=1).astype("float32")
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(walks[:20])
    choices = model.adapt_residual(walks[:20], walks[20:])
    assert choices["drift"] > 0
    noise = rng.normal(size=walks.shape).astype("float32")
    model.adapt(noise[:20])
    choices = model.adapt_residual(noise[:20], noise[20:])
    assert choices["drift"] == choices["shared"] == 0


def test_intervals_of_draws_cover_what_was_hidden():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(30, 36)) / 3
    x = (rng.normal(size=(600, 30)) @ mixing + 0.3 * rng.normal(size=(600, 36))).astype("float32")
    x = x.reshape(-1, 12, 3)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(x[:400])
    model.adapt_residual(x[:400], x[400:500])
    hidden = rng.random(x[500:].shape) < 0.3
    draws = model.impute(np.where(hidden, np.nan, x[500:]), num_samples=200, seed=0)
    assert draws.shape == (200, 100, 12, 3)
    assert (draws[:, ~hidden] == x[500:][~hidden]).all()
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = ((x[500:] >= low) & (x[500:] <= high))[hidden]
    assert 0.85 < inside.mean() < 0.95


def test_counts_are_filled_with_what_counts_can_be(windows):
    counts = np.random.default_rng(0).poisson(0.3, size=windows.shape).astype("float32")
    model = moved_model(counts, reconstruction_loss="poisson")
    model.adapt_residual(counts)
    counts[:, 2:5] = np.nan
    assert (model.impute(counts) >= 0).all()
    with pytest.raises(ValueError, match="gaussian"):
        model.impute(counts, num_samples=2)


def test_residuals_of_large_windows_are_interpolated(windows, monkeypatch):
    monkeypatch.setattr("ceneurovae.model.vae.MOST_ENTRIES", 100)
    model = moved_model(windows)
    assert model.residual is None and model.adapt_residual(windows) is None
    x = np.nan_to_num(windows)
    x[:, 5] = np.nan
    expected = model.reconstruct(x, refine=10)
    filled = model.impute(x)
    between = (x[:, 4] - expected[:, 4] + x[:, 6] - expected[:, 6]) / 2
    np.testing.assert_allclose(filled[:, 5], expected[:, 5] + between, rtol=1e-3, atol=1e-3)
