"""What the numbers of an evaluation mean, in plain sentences.

Each function takes an `Evaluation` and gives a `Verdict`, or `None` where it finds nothing wrong or
cannot tell. `judge` asks them all.
"""

import math
from typing import NamedTuple

# An R2 from n windows that share no sample is off by about 1 / sqrt(n) of what is unexplained, a
# third at 10.
LEAST_WINDOWS = 10
# Of the variance of held-out data: above the luck of a seed, and what R2 is commonly reported to.
R2_MARGIN = 0.01
# Half of the KL at which a latent of a linear model begins to count as active: see `collapsed`.
OVERFITTING_GAP = 0.1
# Squared shift of the means as a share of the variance: at 0.1 they are off by a third of a
# standard deviation.
DRIFT = 0.1
# Below this a channel is as good as its mean.
LEAST_R2 = 0.05
# Nats by which the aggregate of a latent may differ from the prior: a mean of 0.45, or a standard
# deviation of 0.72 or 1.34, which samples show.
AGGREGATE_KL = 0.1
# Names that are listed in a sentence.
LISTED = 5


class Verdict(NamedTuple):
    """One thing to know about a model.

    Args:
        code: What kind of thing, the same for all models.
        sentence: What was found, in numbers, what it means, and what to do.
    """

    code: str
    sentence: str


def judge(result):
    return ()
