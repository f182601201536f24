"""What the numbers of an evaluation mean, in plain sentences.

Each check takes an `Evaluation` and gives a `Verdict`, or `None` where it finds nothing wrong or
cannot tell. `judge` asks them all.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceneurovae.results import ChannelScores, Evaluation

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
    checks = (
        few_windows,
        drift,
        overfitting,
        no_better_than_pca,
        never_reconstructed,
        collapsed,
        off_prior,
    )
    found = tuple(verdict for check in checks if (verdict := check(result)) is not None)
    return found or (sound(result),)


def few_windows(result: "Evaluation") -> Verdict | None:
    """`too-few-windows`: the scores are not known well, whatever they are."""
    test = result.test
    apart = test.num_windows if test.num_disjoint is None else test.num_disjoint
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
        "Between training and held-out data the channels drift: the squared shift of their means "
        f"is {-mean.r2:.2f} of their variance (largest in {names}). R2 suffers from it, skill "
        f"({_number(result.test.skill)}) does not. Remove slow trends from the recordings, such as "
        "bleaching, or hold out whole recordings instead of the end of each.",
    )


def overfitting(result: "Evaluation") -> Verdict | None:
    """`overfitting`: training is far above test, in skill, which shifted means do not lower."""
    seen, unseen = None if result.train is None else result.train.skill, result.test.skill
    if seen is None or unseen is None or seen - unseen <= OVERFITTING_GAP:
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
    where = "held-out" if result.train is None else "held-out or training"
    return Verdict(
        "channel-never-reconstructed",
        f"{len(names)} of {count} channels {_are(names)} never reconstructed, with an R2 below "
        f"{LEAST_R2} on {where} windows: {_listed(names)}. What is in them may be noise, or "
        "nothing that they share with others: leave them out, or take more latents.",
    )


def collapsed(result: "Evaluation") -> Verdict | None:
    """`collapsed-latents`: their mean is the same for all windows."""
    test = result.test
    latents = len(test.kl_per_latent)
    idle = latents - test.active_units
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
        f"window. The data may need no more than {test.active_units}: set latent_dim="
        f"{test.active_units}, or have more used with a lower kl_weight or free_bits.",
    )


def off_prior(result: "Evaluation") -> Verdict | None:
    """`posterior-off-prior`: a latent in aggregate over windows is not as the prior has it.

    Of the mixture of all posteriors it sees mean and standard deviation only, and measures the KL
    divergence of a normal distribution of these from N(0, 1), in nats. Where they were scored, that
    is of training windows: others may be too few, and may have drifted.
    """
    scores, where = (result.test, "held-out")
    if result.train is not None:
        scores, where = result.train, "training"
    pairs = list(zip(scores.aggregate_mean, scores.aggregate_std, strict=True))
    distances = [_from_prior(*pair) for pair in pairs]
    off = [index for index, distance in enumerate(distances) if distance > AGGREGATE_KL]
    if not off:
        return None
    farthest = max(off, key=distances.__getitem__)
    mean, std = pairs[farthest]
    return Verdict(
        "posterior-off-prior",
        f"In aggregate over {where} windows, {len(off)} of {len(pairs)} latents {_are(off)} not "
        f"distributed as the prior is, with mean 0 and standard deviation 1: latent {farthest} has "
        f"{mean:.2f} and {std:.2f}. Draws from the prior (model.sample) will not look like the "
        "data. Train for longer, with a kl_weight of 1 and without free_bits.",
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


def _best(channels: "Sequence[ChannelScores]") -> float:
    """The highest R2 of a channel in several `ChannelScores`, infinite where there is none."""
    return max((c.r2 for c in channels if c.r2 is not None), default=math.inf)


def _are(names: Sequence[Any]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
