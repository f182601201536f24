"""What is said of an evaluation: each sentence where it is due, and only there."""

import dataclasses

import pytest

from ceneurovae.results import (
    Baselines,
    ChannelScores,
    Evaluation,
    ProbabilisticReconstruction,
    Reconstruction,
    SplitScores,
)
from ceneurovae.verdict import judge

CHANNELS = ("speed", "AVA", "AVB")


def reconstruction(kind=Reconstruction, r2=0.8, channels=None, **fields):
    """Scores with one R2, but for some `channels`."""
    own = dict.fromkeys(CHANNELS, r2) | (channels or {})
    rows = tuple(
        ChannelScores(name=name, r2=value, mse=1 - r2, missing=0.0) for name, value in own.items()
    )
    scores = {"r2": r2, "skill": r2, "mse": 1 - r2, "huber": (1 - r2) / 2, "per_channel": rows}
    return kind(**{**scores, **fields})


def split(r2=0.8, **fields):
    defaults = {
        "num_windows": 400,
        "num_disjoint": 40,
        "elbo": -10.0,
        "iwae": -9.0,
        "iwae_samples": 16,
        "kl": 4.0,
        "kl_per_latent": (2.5, 1.5),
        "active_units": 2,
        "aggregate_mean": (0.1, -0.1),
        "aggregate_std": (1.1, 0.9),
        "refined": reconstruction(r2=r2 + 0.01),
    }
    return reconstruction(SplitScores, r2, **{**defaults, **fields})


def sound_evaluation(pca=0.6, mean=None, **fields):
    """An `Evaluation` in which nothing is wrong, but for what is given."""
    baselines = Baselines(
        pca=reconstruction(r2=pca),
        ppca=reconstruction(ProbabilisticReconstruction, pca, elbo=-20.0),
        mean=mean or reconstruction(r2=-0.02, skill=0.0),
    )
    defaults = {
        "split": "test",
        "channels": CHANNELS,
        "refine": 10,
        "test": split(),
        "validation": split(),
        "train": split(0.85),
        "baselines": baselines,
    }
    return Evaluation(**{**defaults, **fields})


def test_nothing_is_wrong_with_a_sound_one():
    (verdict,) = judge(sound_evaluation())
    assert verdict.code == "sound"
    assert "0.800 on held-out windows, 0.600 by PCA, 0.850 on training windows" in verdict.sentence
    few = {"baselines": None, "train": None, "validation": None}
    (verdict,) = judge(sound_evaluation(**few))
    assert verdict.code == "sound" and "PCA" not in verdict.sentence


unseen = {"AVA": 0.01}
WRONG = {
    "few": (
        {"test": split(num_disjoint=4)},
        "too-few-windows",
        "is 400 windows, with room for 4 that share no sample",
    ),
    "few of arrays": (
        {"test": split(num_windows=9, num_disjoint=None)},
        "too-few-windows",
        "The held-out data is 9 windows: fewer than 10",
    ),
    "drift": (
        {"mean": reconstruction(r2=-0.5, skill=0.0, channels={"AVA": -1.4, "AVB": -0.1})},
        "drift-between-splits",
        "is 0.50 of their variance (largest in AVA, speed)",
    ),
    "overfitting": ({"train": split(0.95)}, "overfitting", "0.950 on training windows and 0.800"),
    "PCA": ({"pca": 0.81}, "no-better-than-pca", "is 0.800 (0.810 refined) on held-out windows"),
    "encoder": (
        {"pca": 0.8, "test": split(refined=reconstruction(r2=0.85))},
        "no-better-than-pca",
        "latents are, 0.850: encode and reconstruct with refine=10",
    ),
    "channel": (
        {
            "test": split(channels=unseen, refined=reconstruction(channels=unseen)),
            "train": split(0.85, channels=unseen, refined=reconstruction(channels=unseen)),
        },
        "channel-never-reconstructed",
        "1 of 3 channels is never reconstructed, with an R2 below 0.05 on held-out or training "
        "windows: AVA.",
    ),
    "one latent": (
        {"test": split(active_units=1)},
        "collapsed-latents",
        "1 of 2 latents is collapsed, the same in every window. The data may need no more than 1",
    ),
    "all latents": (
        {"test": split(active_units=0, kl=0.001, kl_per_latent=(0.0, 0.001))},
        "collapsed-latents",
        "All 2 latents are collapsed",
    ),
    "mean of a latent": (
        {"train": split(0.85, aggregate_mean=(0.0, 0.9))},
        "posterior-off-prior",
        "over training windows, 1 of 2 latents is not distributed as the prior is",
    ),
    "spread of a latent": (
        {"train": split(0.85, aggregate_std=(2.0, 0.5))},
        "posterior-off-prior",
        "latent 0 has 0.10 and 2.00",
    ),
}


@pytest.mark.parametrize(("fields", "code", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(fields, code, sentence):
    (verdict,) = judge(sound_evaluation(**fields))
    assert verdict.code == code
    assert sentence in verdict.sentence


def test_a_channel_that_is_found_somewhere_is_not_called_unreconstructed():
    test = split(channels={"AVA": -0.5}, refined=None)
    assert [v.code for v in judge(sound_evaluation(test=test))] == ["sound"]
    never_seen = {"AVA": None}
    test = split(channels=never_seen, refined=reconstruction(channels=never_seen))
    train = split(0.85, channels=never_seen, refined=None)
    assert [v.code for v in judge(sound_evaluation(test=test, train=train))] == ["sound"]


def test_several_things_may_be_wrong():
    test = dataclasses.replace(split(0.5), num_disjoint=2, active_units=1)
    found = judge(sound_evaluation(test=test))
    assert [verdict.code for verdict in found] == [
        "too-few-windows",
        "overfitting",
        "no-better-than-pca",
        "collapsed-latents",
    ]


def test_scores_that_are_not_defined_are_not_judged():
    nothing = {name: None for name in ("r2", "skill", "mse", "huber")}
    channels = dict.fromkeys(CHANNELS)
    test = dataclasses.replace(split(channels=channels, refined=None), **nothing)
    mean = dataclasses.replace(reconstruction(channels=channels), **nothing)
    (verdict,) = judge(sound_evaluation(test=test, mean=mean))
    assert verdict.code == "sound" and "R2 is not defined on held-out windows" in verdict.sentence
