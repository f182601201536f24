"""Scores of reconstructions and of posteriors: against their definitions and each other."""

import json

import numpy as np
import pytest
from conftest import make_windows, tiny_config
from sklearn.decomposition import PCA

from ceneurovae import NeuroBehaviorVAE, evaluate
from ceneurovae.evaluation import readout_r2
from ceneurovae.evaluation_table import show_evaluation
from ceneurovae.model import loss_huber
from ceneurovae.results import Evaluation
from ceneurovae.scores import Score


def test_scores_follow_their_definitions():
    rng = np.random.default_rng(0)
    target = rng.normal(loc=[0, 1, -1], size=(40, 6, 3))
    target[rng.random(target.shape) < 0.2] = np.nan
    prediction = rng.normal(size=target.shape)
    score = Score()
    for start in range(0, 40, 7):
        score.add(target[start : start + 7], prediction[start : start + 7])
    found = score.result(["a", "b", "c"])
    error = np.nansum((target - prediction) ** 2, axis=(0, 1))
    spread = np.nansum((target - np.nanmean(target, axis=(0, 1))) ** 2, axis=(0, 1))
    assert found.r2 == pytest.approx(1 - error.sum() / spread.sum())
    assert found.skill == pytest.approx(1 - error.sum() / np.nansum(target**2))
    assert [c.r2 for c in found.per_channel] == pytest.approx(list(1 - error / spread))
    assert found.mse == pytest.approx(np.nanmean((target - prediction) ** 2))
    total = np.sum(np.asarray(loss_huber(target, prediction)))
    observed = ~np.isnan(target)
    assert found.huber == pytest.approx(total / observed.sum(), rel=1e-5)
    assert [c.name for c in found.per_channel] == ["a", "b", "c"]
    missing = [channel.missing for channel in found.per_channel]
    assert missing == pytest.approx(list(1 - observed.mean(axis=(0, 1))))
    # The channels, by how much of each was observed, give the total.
    mse = np.average([c.mse for c in found.per_channel], weights=1 - np.array(missing))
    assert found.mse == pytest.approx(mse)


def test_a_perfect_and_an_empty_prediction():
    target = np.random.default_rng(0).normal(size=(9, 5, 2))
    perfect, empty = Score(), Score()
    perfect.add(target, target)
    empty.add(target, np.zeros_like(target))
    found = perfect.result()
    assert found.r2 == found.skill == 1 and found.mse == found.huber == 0
    assert empty.result().skill == 0
    nothing = Score()
    nothing.add(np.full((2, 5, 1), np.nan), np.zeros((2, 5, 1)))
    found = nothing.result()
    (channel,) = found.per_channel
    assert {found.r2, found.skill, found.mse, found.huber, channel.r2, channel.mse} == {None}
    assert channel.missing == 1


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
    result = evaluate(model, x, batch_size=17, imputation=False)
    found, logs = result.test, model.evaluate(x, verbose=0, return_dict=True)
    assert found.kl == pytest.approx(logs["kl"], rel=1e-4)
    # Over draws of the latents the reconstruction is worse than at their mean.
    assert found.elbo < logs["elbo"]
    assert found.elbo < found.iwae
    observed = np.count_nonzero(~np.isnan(x))
    bits = -60 * found.elbo / np.log(2) / observed
    assert found.bits_per_sample == pytest.approx(bits)
    one = evaluate(model, x, refine=0, iwae_samples=1, imputation=False).test
    assert one.iwae == one.elbo and one.refined is None
    assert found.num_windows == 60 and found.num_disjoint is None
    assert len(found.kl_per_latent) == 2
    assert sum(found.kl_per_latent) == pytest.approx(found.kl)
    assert (result.baselines, result.train, result.validation) == (None, None, None)


def test_the_aggregate_posterior_is_that_of_draws(fitted):
    model, x = fitted
    found = evaluate(model, x, refine=0, iwae_samples=1, imputation=False).test
    mu, logvar = model.encode(x)
    noise = np.random.default_rng(0).standard_normal((2000, *mu.shape))
    draws = (mu + np.exp(logvar / 2) * noise).reshape(-1, 2)
    assert found.aggregate_mean == pytest.approx(draws.mean(axis=0), abs=0.02)
    assert found.aggregate_std == pytest.approx(draws.std(axis=0), rel=0.02)


def test_baselines_are_fitted_to_scaled_training_windows(fitted):
    model, _ = fitted
    train, test = np.nan_to_num(make_windows(60), nan=1.0), np.nan_to_num(make_windows(30, seed=1))
    result = evaluate(model, test, train, refine=0, imputation=False)
    scaled = [np.asarray(model.scaler(x)).reshape(len(x), -1) for x in (train, test)]
    pca = PCA(2).fit(scaled[0])
    error = np.square(scaled[1] - pca.inverse_transform(pca.transform(scaled[1]))).sum()
    channels = scaled[1].reshape(30, 12, 3)
    spread = np.square(channels - channels.mean((0, 1))).sum()
    baselines = result.baselines
    assert baselines.pca.r2 == pytest.approx(1 - error / spread, abs=1e-4)
    assert baselines.ppca.elbo == pytest.approx(pca.score(scaled[1]), rel=1e-4)
    assert baselines.mean.skill == 0
    assert baselines.mean.r2 == pytest.approx(1 - np.square(channels).sum() / spread, abs=1e-4)
    assert result.train.num_windows == 60
    assert result.train.r2 == evaluate(model, train, refine=0, imputation=False).test.r2


@pytest.mark.once
def test_scores_do_not_depend_on_how_windows_are_put_together(fitted):
    model, x = fitted
    whole, parts = (
        evaluate(model, x, batch_size=size, refine=0, imputation=False).test for size in (60, 17)
    )
    for name in ("r2", "skill", "mse", "huber", "kl", "active_units", "num_windows"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-4)


def test_missing_entries_do_not_change_the_score_of_the_others(fitted):
    model, x = fitted
    result = evaluate(model, x, x, refine=0, imputation=False)
    assert np.isfinite([result.test.r2, result.baselines.pca.r2]).all()
    missing = x.copy()
    missing[..., 1] = np.nan
    alone = evaluate(model, missing, refine=0, imputation=False).test
    assert alone.per_channel[1].r2 is None and alone.per_channel[1].missing == 1


def test_a_likelihood_that_is_not_in_nats_has_no_bits():
    for fields in ({"reconstruction_loss": "mse"}, {"reduction": "mean"}):
        model = NeuroBehaviorVAE(tiny_config(**fields))
        x = make_windows(20)
        model.adapt(x)
        result = evaluate(model, x, x, refine=0, iwae_samples=1, imputation=False)
        assert result.test.bits_per_sample is None
        assert result.baselines.ppca.elbo is None


def test_the_document_is_json_and_comes_back(fitted, capsys):
    model, x = fitted
    missing = x.copy()
    missing[..., 1] = np.nan
    result = evaluate(model, missing, x, x[:20], refine=1)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == result
    document = json.loads(text)
    assert document["test"]["per_channel"][1]["r2"] is None
    assert document["channels"] == ["0", "1", "2"]
    assert "imputation" not in document["validation"]
    seen = {name: document[name]["seen_in_training"] for name in ("test", "validation", "train")}
    assert seen == {"test": False, "validation": False, "train": True}
    with pytest.raises(ValueError, match="is of version None, expected 3. Evaluate again"):
        Evaluation.from_json({"split": "test"})
    show_evaluation(result)
    shown = capsys.readouterr().out
    for row in ("test, refined", "validation", "train", "PCA", "pPCA", "mean", "entries"):
        assert row in shown
    assert all(verdict.sentence in shown for verdict in result.verdict)


def test_windows_that_were_trained_on_are_marked(fitted, capsys):
    model, x = fitted
    how = {"refine": 0, "iwae_samples": 1, "imputation": False}
    result = evaluate(model, x, x, x[:20], **how, trained_on=("train", "validation"))
    assert (result.test.seen_in_training, result.validation.seen_in_training) == (False, True)
    show_evaluation(result)
    assert "trained on" in capsys.readouterr().out
    with pytest.raises(ValueError, match="trained_on names valid, expected some of test, valid"):
        evaluate(model, x, trained_on=["valid"])
    with pytest.raises(ValueError, match="split is 'validation', expected 'test' or 'valid'"):
        evaluate(model, x, split="validation")


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
