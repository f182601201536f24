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
        "seen_in_training": False,
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
        "train": split(0.85, seen_in_training=True),
        "baselines": baselines,
        "network": 1.0,
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
        "is 0.50 times their variance (largest in AVA, speed)",
    ),
    "overfitting": ({"train": split(0.95)}, "overfitting", "0.950 on training windows and 0.800"),
    "PCA": ({"pca": 0.81}, "no-better-than-pca", "is 0.800 (0.810 refined) on held-out windows"),
    "encoder": (
        {"pca": 0.8, "test": split(refined=reconstruction(r2=0.85))},
        "no-better-than-pca",
        "latents are, 0.850: encode and reconstruct with refine=10",
    ),
    "network": (
        {"network": 0.0},
        "network-left-out",
        "did not cut the error of the linear path by 5 %",
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
        {"test": split(active_units=1), "train": None},
        "collapsed-latents",
        "1 of 2 latents is collapsed, the same in every window. The data may need no more than 1",
    ),
    "all latents": (
        {
            "test": split(active_units=0, kl=0.001, kl_per_latent=(0.0, 0.001)),
            "train": split(0.85, active_units=0),
        },
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


def test_nothing_is_said_of_new_data_where_none_was_held_out():
    wrong = {
        "pca": 0.9,
        "mean": reconstruction(r2=-0.5, skill=0.0),
        "train": split(0.99, active_units=1, aggregate_mean=(0.9, 0.0)),
    }
    scored = split(0.5, num_disjoint=2, active_units=1, seen_in_training=True)
    found = judge(sound_evaluation(test=scored, split="valid", **wrong))
    codes = [verdict.code for verdict in found]
    assert codes == ["no-test-data", "collapsed-latents", "posterior-off-prior"]
    assert "The model was trained on the windows that are scored" in found[0].sentence
    (verdict,) = judge(sound_evaluation(split="valid"))
    assert verdict.code == "no-test-data"
    assert "on which the model was chosen" in verdict.sentence


def test_validation_data_that_was_trained_on_decides_nothing():
    worse = split(0.1, seen_in_training=True, active_units=0, num_disjoint=1)
    assert judge(sound_evaluation(validation=worse)) == judge(sound_evaluation())


def test_what_chance_explains_is_not_said():
    train = split(0.85, aggregate_mean=(0.6, 0.0), num_disjoint=10)
    assert [v.code for v in judge(sound_evaluation(train=train))] == ["sound"]
    train = dataclasses.replace(train, num_disjoint=100)
    assert [v.code for v in judge(sound_evaluation(train=train))] == ["posterior-off-prior"]
    few = split(0.5, num_disjoint=4)
    codes = [verdict.code for verdict in judge(sound_evaluation(test=few, pca=0.1))]
    assert codes == ["too-few-windows", "overfitting"]
    few = split(0.65, num_disjoint=2)
    codes = [verdict.code for verdict in judge(sound_evaluation(test=few, pca=0.1))]
    assert codes == ["too-few-windows"]
    used = sound_evaluation(test=split(active_units=1))
    assert [verdict.code for verdict in judge(used)] == ["sound"]


def test_channels_without_names_are_called_channels():
    numbers = reconstruction(channels=None)
    rows = tuple(dataclasses.replace(row, name=str(n)) for n, row in enumerate(numbers.per_channel))
    rows = (dataclasses.replace(rows[0], r2=0.0), rows[1], dataclasses.replace(rows[2], r2=0.0))
    test = dataclasses.replace(split(refined=None), per_channel=rows)
    (verdict,) = judge(sound_evaluation(test=test, train=None))
    assert verdict.sentence.split("windows: ")[1].startswith("channel 0, channel 2. What")


def test_a_channel_that_is_found_somewhere_is_not_called_unreconstructed():
    test = split(channels={"AVA": -0.5}, refined=None)
    assert [v.code for v in judge(sound_evaluation(test=test))] == ["sound"]
    never_seen = {"AVA": None}
    test = split(channels=never_seen, refined=reconstruction(channels=never_seen))
    train = split(0.85, channels=never_seen, refined=None)
    assert [v.code for v in judge(sound_evaluation(test=test, train=train))] == ["sound"]


def test_several_things_may_be_wrong():
    test = dataclasses.replace(split(0.4), num_disjoint=2, active_units=1)
    found = judge(sound_evaluation(test=test, train=split(0.85, active_units=1)))
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
