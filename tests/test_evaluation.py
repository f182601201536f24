import numpy as np
import pytest
from conftest import make_windows, tiny_config
from sklearn.decomposition import PCA

from ceneurovae import NeuroBehaviorVAE, evaluate
from ceneurovae.evaluation import Score, readout_r2


def test_scores_follow_their_definitions():
    rng = np.random.default_rng(0)
    target = rng.normal(loc=[0, 1, -1], size=(40, 6, 3))
    target[rng.random(target.shape) < 0.2] = np.nan
    prediction = rng.normal(size=target.shape)
    score = Score()
    for start in range(0, 40, 7):
        score.add(target[start : start + 7], prediction[start : start + 7])
    found = score.result()
    error = np.nansum((target - prediction) ** 2, axis=(0, 1))
    spread = np.nansum((target - np.nanmean(target, axis=(0, 1))) ** 2, axis=(0, 1))
    assert found["r2"] == pytest.approx(1 - error.sum() / spread.sum())
    assert found["skill"] == pytest.approx(1 - error.sum() / np.nansum(target**2))
    assert found["r2_per_channel"] == pytest.approx(list(1 - error / spread))


def test_a_perfect_and_an_empty_prediction():
    target = np.random.default_rng(0).normal(size=(9, 5, 2))
    perfect, empty = Score(), Score()
    perfect.add(target, target)
    empty.add(target, np.zeros_like(target))
    assert perfect.result()["r2"] == perfect.result()["skill"] == 1
    assert empty.result()["skill"] == 0
    nothing = Score()
    nothing.add(np.full((2, 5, 1), np.nan), np.zeros((2, 5, 1)))
    assert nothing.result() == {"r2": None, "skill": None, "r2_per_channel": [None]}


@pytest.fixture(scope="module")
def fitted():
    model = NeuroBehaviorVAE(tiny_config())
    x = make_windows(60)
    model.adapt(x)
    model.compile(optimizer="adam")
    model.fit(x, epochs=2, verbose=0)
    return model, x


def test_bounds_agree_with_keras_and_with_each_other(fitted):
    model, x = fitted
    metrics = evaluate(model, x, batch_size=17, imputation=False)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert metrics["kl"] == pytest.approx(logs["kl"], rel=1e-4)
    # Over draws of the latents the reconstruction is worse than at their mean.
    assert metrics["elbo"] < logs["elbo"]
    assert metrics["elbo"] < metrics["iwae"]
    observed = np.count_nonzero(~np.isnan(x))
    bits = -60 * metrics["elbo"] / np.log(2) / observed
    assert metrics["bits_per_sample"] == pytest.approx(bits)
    one = evaluate(model, x, iwae_samples=1, imputation=False)
    assert one["iwae"] == one["elbo"]
    assert metrics["windows"] == 60
    assert len(metrics["kl_per_latent"]) == 2
    assert sum(metrics["kl_per_latent"]) == pytest.approx(metrics["kl"])
    assert "pca" not in metrics


def test_pca_is_that_of_scaled_training_windows(fitted):
    model, _ = fitted
    train, test = np.nan_to_num(make_windows(60), nan=1.0), np.nan_to_num(make_windows(30, seed=1))
    metrics = evaluate(model, test, train, imputation=False)
    scaled = [np.asarray(model.scaler(x)).reshape(len(x), -1) for x in (train, test)]
    pca = PCA(2).fit(scaled[0])
    error = np.square(scaled[1] - pca.inverse_transform(pca.transform(scaled[1]))).sum()
    channels = scaled[1].reshape(30, 12, 3)
    spread = np.square(channels - channels.mean((0, 1))).sum()
    assert metrics["pca"]["r2"] == pytest.approx(1 - error / spread, abs=1e-4)


def test_missing_entries_do_not_change_the_score_of_the_others(fitted):
    model, x = fitted
    metrics = evaluate(model, x, x, imputation=False)
    assert np.isfinite([metrics["vae"]["r2"], metrics["pca"]["r2"]]).all()
    missing = x.copy()
    missing[..., 1] = np.nan
    alone = evaluate(model, missing, imputation=False)
    assert alone["vae"]["r2_per_channel"][1] is None


def test_readouts_find_what_is_there():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(600, 3))
    targets = np.stack([codes @ [1, -2, 0.5], codes[:, 0] ** 2, rng.normal(size=600)], axis=1)
    scores = readout_r2(codes[:500], targets[:500], codes[500:], targets[500:])
    assert scores["linear"][0] > 0.99
    assert scores["linear"][1] < 0.1 < 0.7 < scores["neighbours"][1]
    assert max(scores["linear"][2], scores["neighbours"][2]) < 0.1


def test_nothing_to_evaluate(fitted):
    model, x = fitted
    with pytest.raises(ValueError, match="There is no window to evaluate"):
        evaluate(model, x[:0])
