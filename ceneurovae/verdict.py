"""What the numbers of an evaluation mean, in plain sentences.

Each check takes an `Evaluation` and gives a `Verdict`, or `None` where it finds nothing wrong or
cannot tell. `judge` asks them all.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceneurovae.results import ChannelScores, Evaluation, SplitScores

# Of the variance that is unexplained, R2 from n windows that share no sample is off by some
# 1 / sqrt(n): a third at 10.
LEAST_WINDOWS = 10
# Share of the variance that a model has to explain beyond PCA: what shows in two decimals of R2.
PCA_MARGIN = 0.01
# Share of the variance. In the demo, where nothing is overfitted, training is ahead by 0.06 because
# the held-out time is short.
OVERFITTING_GAP = 0.1
# Squared shift of the means as a share of the variance: they are off by a third of a standard
# deviation.
DRIFT = 0.1
# A channel of which less is explained is as good as at its mean.
LEAST_R2 = 0.05
# Nats between a latent in aggregate and the prior: a mean of 0.45, or a standard deviation of 0.70
# or 1.33, is visible in samples.
AGGREGATE_KL = 0.1
# Names that are listed in a sentence.
LISTED = 5


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One thing to know about a model.

    Args:
        code: What kind of thing; the same for all models.
        sentence: What was found, in numbers, what it means, and what to do.
    """

    code: str
    sentence: str


def judge(result: "Evaluation") -> tuple[Verdict, ...]:
    """All that is wrong with an `Evaluation`, or that nothing is: a tuple of `Verdict`."""
    checks = [no_test_data]
    if not result.test.seen_in_training:
        checks += [few_windows, drift, overfitting, no_better_than_pca]
    checks += [network_left_out, never_reconstructed, collapsed, off_prior]
    found = tuple(verdict for check in checks if (verdict := check(result)) is not None)
    return found or (sound(result),)


def no_test_data(result: "Evaluation") -> Verdict | None:
    """`no-test-data`: the scores are of data on which the model was trained or chosen."""
    if result.test.seen_in_training:
        return Verdict(
            "no-test-data",
            "The model was trained on the windows that are scored: their scores say how well it "
            "fits what it has seen, nothing of new data, and whether it overfits, or is better "
            "than PCA, cannot be told. Set test data aside (--test-fraction 0.2), or train without "
            "a refit (--no-refit).",
        )
    if result.split == "valid":
        return Verdict(
            "no-test-data",
            "No test data was set aside: the scores are of validation windows, on which the model "
            "was chosen, and may be too good. Set test data aside (--test-fraction 0.2).",
        )
    return None


def few_windows(result: "Evaluation") -> Verdict | None:
    """`too-few-windows`: the scores are not known well, whatever they are."""
    test = result.test
    apart = _apart(test)
    if apart >= LEAST_WINDOWS:
        return None
    of_which = "" if test.num_disjoint is None else f", with room for {apart} that share no sample"
    return Verdict(
        "too-few-windows",
        f"The held-out data is {test.num_windows} windows{of_which}: fewer than {LEAST_WINDOWS}. "
        f"Every R2 may be off by some {1 / math.sqrt(max(apart, 1)):.0%} of what is unexplained. "
        "Set more data aside, or record more, before you compare models.",
    )


def drift(result: "Evaluation") -> Verdict | None:
    """`drift-between-splits`: channels have other means in the held-out data than in training."""
    mean = None if result.baselines is None else result.baselines.mean
    if mean is None or mean.r2 is None or -mean.r2 <= DRIFT:
        return None
    shifts = {channel.name: -channel.r2 for channel in mean.per_channel if channel.r2 is not None}
    largest = sorted(shifts, key=shifts.__getitem__, reverse=True)
    names = _listed([name for name in largest if shifts[name] > DRIFT])
    return Verdict(
        "drift-between-splits",
        "Between training and held-out data the means of channels shift: the square of the shift "
        f"is {-mean.r2:.2f} times their variance (largest in {names}). R2 is about the means of "
        f"the held-out data, skill ({_number(result.test.skill)}) about those of training: in it, "
        "what is explained of the shift counts too. Slow trends do that, such as bleaching, and "
        "so does held-out time that is short beside the course of the channels. Remove trends, or "
        "hold out whole recordings.",
    )


def overfitting(result: "Evaluation") -> Verdict | None:
    """`overfitting`: training is far above test, in skill, which shifted means do not lower."""
    seen, unseen = None if result.train is None else result.train.skill, result.test.skill
    if seen is None or unseen is None:
        return None
    by_chance = (1 - unseen) / math.sqrt(max(_apart(result.test), 1))
    if seen - unseen <= max(OVERFITTING_GAP, by_chance):
        return None
    return Verdict(
        "overfitting",
        f"The skill is {seen:.3f} on training windows and {unseen:.3f} on "
        "held-out ones: the model has learned what does not come again. Train on more recordings, "
        "or take fewer latents, a smaller hidden_dim or more dropout.",
    )


def no_better_than_pca(result: "Evaluation") -> Verdict | None:
    """`no-better-than-pca`: the simple method explains as much."""
    pca = None if result.baselines is None else result.baselines.pca.r2
    encoder = result.test.r2
    refined = None if result.test.refined is None else result.test.refined.r2
    if pca is None or encoder is None:
        return None
    if max(encoder, encoder if refined is None else refined) - pca < PCA_MARGIN:
        told = "" if refined is None else f" ({refined:.3f} refined)"
        return Verdict(
            "no-better-than-pca",
            f"R2 is {encoder:.3f}{told} on held-out windows, that of PCA with as many components "
            f"{pca:.3f}: the network adds nothing to it. Use PCA, or try more data, another "
            "backbone or another window length.",
        )
    if encoder - pca < PCA_MARGIN:
        return Verdict(
            "no-better-than-pca",
            f"The encoder alone is no better than PCA, R2 {encoder:.3f} and {pca:.3f}, but refined "
            f"latents are, {refined:.3f}: encode and reconstruct with refine={result.refine}.",
        )
    return None


def network_left_out(result: "Evaluation") -> Verdict | None:
    """`network-left-out`: the linear path is all that there is."""
    if result.network != 0:
        return None
    return Verdict(
        "network-left-out",
        "The network was left out: on validation data it did not cut the error of the linear path "
        "by 5 %. What remains is probabilistic PCA of windows, smooth in time, and how long the "
        "network was trained for, or which it is, makes no difference. Train on more data, or try "
        "another backbone or window length.",
    )


def never_reconstructed(result: "Evaluation") -> Verdict | None:
    """`channel-never-reconstructed`: in no split, refined or not."""
    scores = [result.test, result.test.refined]
    if result.train is not None:
        scores += [result.train, result.train.refined]
    columns = zip(*(score.per_channel for score in scores if score is not None), strict=True)
    names = [column[0].name for column in columns if _best(column) < LEAST_R2]
    if not names:
        return None
    count = len(result.channels)
    where = "these" if result.test.seen_in_training else "held-out"
    where += "" if result.train is None else " or training"
    return Verdict(
        "channel-never-reconstructed",
        f"{len(names)} of {count} channels {_are(names)} never reconstructed, with an R2 below "
        f"{LEAST_R2} on {where} windows: {_listed(names)}. What is in them may be noise, as "
        "most is in low spike counts, or nothing that they share with others: take more latents, "
        "or leave them out.",
    )


def collapsed(result: "Evaluation") -> Verdict | None:
    """`collapsed-latents`: their mean is the same for all windows.

    Few held-out windows may not need a latent that others do, so training windows count too.
    """
    test = result.test
    latents = len(test.kl_per_latent)
    active = max(scores.active_units for scores in (test, result.train) if scores is not None)
    idle = latents - active
    if not idle:
        return None
    if idle == latents:
        return Verdict(
            "collapsed-latents",
            f"All {latents} latents are collapsed: they are the same in every window, and the KL "
            f"is {_number(test.kl)} nats, so nothing is encoded. Lower kl_weight, give it a longer "
            "warm-up, or set free_bits.",
        )
    return Verdict(
        "collapsed-latents",
        f"{idle} of {latents} latents {'is' if idle == 1 else 'are'} collapsed, the same in every "
        f"window. The data may need no more than {active}: set latent_dim="
        f"{active}, or have more used with a lower kl_weight or free_bits.",
    )


def off_prior(result: "Evaluation") -> Verdict | None:
    """`posterior-off-prior`: a latent in aggregate over windows is not as the prior has it.

    Of the mixture of all posteriors it sees mean and standard deviation only, and measures the KL
    divergence of a normal distribution of these from N(0, 1), in nats. Where they were scored, that
    is of training windows: others may be too few, and may have drifted.

    Of `n` independent windows, twice `n` times that divergence is distributed as chi-squared with 2
    degrees of freedom, if the latent is as the prior: what is less than its 99 % quantile shows
    nothing.
    """
    scores, where = (result.test, "held-out")
    if result.train is not None:
        scores, where = result.train, "training"
    pairs = list(zip(scores.aggregate_mean, scores.aggregate_std, strict=True))
    distances = [_from_prior(*pair) for pair in pairs]
    by_chance = -math.log(0.01) / max(_apart(scores), 1)
    least = max(AGGREGATE_KL, by_chance)
    off = [index for index, distance in enumerate(distances) if distance > least]
    if not off:
        return None
    farthest = max(off, key=distances.__getitem__)
    mean, std = pairs[farthest]
    return Verdict(
        "posterior-off-prior",
        f"In aggregate over {where} windows, {len(off)} of {len(pairs)} latents {_are(off)} not "
        f"distributed as the prior is, with mean 0 and standard deviation 1: latent {farthest} has "
        f"{mean:.2f} and {std:.2f}. To that extent, draws from the prior (model.sample) are unlike "
        "the data. Encode data and draw around its latents instead, or train for longer, with a "
        "kl_weight of 1 and without free_bits.",
    )


def sound(result: "Evaluation") -> Verdict:
    """`sound`: none of the checks has found anything."""
    test, latents = result.test, len(result.test.kl_per_latent)
    beside = [f"{_number(test.r2)} on held-out windows"]
    if result.baselines is not None:
        beside.append(f"{_number(result.baselines.pca.r2)} by PCA")
    if result.train is not None:
        beside.append(f"{_number(result.train.r2)} on training windows")
    return Verdict(
        "sound",
        f"These numbers show nothing wrong: R2 is {', '.join(beside)}, and all {latents} latents "
        "are used.",
    )


def _from_prior(mean: float, std: float) -> float:
    return 0.5 * (mean**2 + std**2 - 1) - math.log(std) if std > 0 else math.inf


def _apart(scores: "SplitScores") -> int:
    """How many windows there are that share no sample, or all where that is not known."""
    return scores.num_windows if scores.num_disjoint is None else scores.num_disjoint


def _best(channels: "Sequence[ChannelScores]") -> float:
    """The highest R2 of a channel in several `ChannelScores`, infinite where there is none."""
    return max((c.r2 for c in channels if c.r2 is not None), default=math.inf)


def _are(names: Sequence[Any]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    """The first names of channels; those of plain arrays are numbers."""
    more = len(names) - LISTED
    told = (f"channel {name}" if name.isdigit() else name for name in names[:LISTED])
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
