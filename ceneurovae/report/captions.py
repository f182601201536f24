"""What is written below the plots: how to read them."""

from typing import TYPE_CHECKING

from ceneurovae.report.figures import LOWEST_R2, MOST_RECORDINGS
from ceneurovae.report.timeline import BINS

if TYPE_CHECKING:
    from ceneurovae.report.data import ReportData


def captions(data: "ReportData") -> dict[str, str]:
    """A caption for each plot of the page, by name.

    Args:
        data: `ReportData`.
    """
    windows = data.windows
    trajectory = data.recordings[data.trajectory.recording].name
    more = len(data.recordings) - MOST_RECORDINGS
    return {
        "timeline": (
            "Which time of each recording the model was trained on, chosen on and scored on. "
            + _refit(data)
            + "The gaps between them belong to none. The strip below each bar "
            f"is the share of values that is missing, in {BINS} steps."
            + (f" The first {MOST_RECORDINGS} recordings; {more} more are as these." * (more > 0))
        ),
        "learning_curves": _learning_curves(data),
        "reconstructions": (
            f"The best, the median and the worst of {len(windows.r2)} held-out windows by R2 over "
            f"all channels. {len(windows.channels)} of {len(data.channels)} channels, evenly "
            "spaced from the one with the highest R2, at the top, to the lowest. Line with "
            "points: recorded; blue: what the model makes of it; band: 90 % interval of "
            f"{windows.interval}. About nine in ten recorded points should be within it. Where the "
            "background is grey nothing was observed, and the model fills it in."
        ),
        "channels": (
            "R2 of each channel on held-out data, in the order of that of the VAE. Where the blue "
            "dot is above the red cross, the VAE tells the channel better than PCA with as many "
            f"components. Values below {LOWEST_R2:g} are drawn at {LOWEST_R2:g}. Hover over a dot "
            "for the name of the channel; click the legend to show what refining the latents adds."
        ),
        "latents": (
            "Left: how much each latent says about a window, in nats (1 nat is 1.44 bits). Right: "
            "variance of its mean over held-out windows, on a logarithmic axis. Latents above the "
            f"dotted line (0.01) are active: {data.metrics['test']['active_units']} of "
            f"{len(data.latent_order)}; grey ones are as the prior, whatever the window, and of no "
            "use."
        ),
        "trajectories": (
            f"Mean of the posterior of each latent over the whole of {trajectory}, one point for "
            "each window, at its middle; the latent with the most KL divergence is at the top. "
            "Background: training (blue), validation (orange) and test data (green). A latent that "
            "behaves otherwise on green than on blue has met data unlike that of the training."
            + _behaviours(data)
        ),
        "scatter": (
            f"Each point is one of {len(windows.r2)} held-out windows, at the mean of its "
            "posterior, in standard deviations of the prior. Neighbours look alike to the model. "
            "Grey points have no value. Points that run through each other in colour say that the "
            "latents shown do not tell that quantity. Click a point to choose its window."
        ),
        "null_control": (
            "The same training, on the data as it is and on data whose channels were shifted "
            "against each other in time, so that they share nothing. With time shuffled, channels "
            "share what they did, but nothing has a course. What the dots of the shifted "
            "data reach, a model reaches without structure between channels; only what the blue "
            "dot is to the right of them speaks for latents that channels share."
        ),
        "decoding": (
            "How well labels are read along a straight line from the latents, from as many "
            "principal components, and from the channels themselves: mean and standard deviation "
            "over folds of the time. What is read of labels that were shifted in time, or "
            "exchanged between recordings if they are of whole ones, is chance. A star marks "
            "labels that are channels of the model. Latents that do nearly as well as the channels "
            "have kept what the label is about. "
            f"R2 below {LOWEST_R2:g} is drawn at {LOWEST_R2:g}."
        ),
    }


def _learning_curves(data: "ReportData") -> str:
    text = (
        "Training and validation data over the epochs, each value a mean per window. The ELBO, "
        "with KL weight 1 throughout, is what training raises; it is minus the sum of the two "
        "others. Where orange turns away from blue the model begins to learn the training data by "
        "heart. Shaded: epochs in which the KL weight was below its last value."
    )
    if (data.choices or {}).get("epoch") is not None:
        text += " Dotted: the epoch whose weights were chosen on validation data."
    if data.settings["training"].get("refit"):
        text += " The model was then trained anew on training and validation data for as long."
    return text


def _refit(data: "ReportData") -> str:
    """What a refit means for the time that is called validation."""
    if not data.settings["training"].get("refit"):
        return ""
    return "In the end it was trained on validation data too. "


def _behaviours(data: "ReportData") -> str:
    if not data.trajectory.behaviours:
        return ""
    return (
        " Grey, below: behaviour in the same file in its own units, of all that there is, what a "
        "straight line through the latents predicts best in the last 30 % of the time."
    )


def describe_gap(data: "ReportData") -> str:
    """What the null control says, in a sentence; empty where it was not run."""
    if data.null is None:
        return ""
    parts = [
        f"{name} of {gap['mean']:.2f}" + (f" ± {gap['std']:.2f}" if gap["std"] is not None else "")
        for name, gap in (("R2", data.null["gap"]["r2"]), ("skill", data.null["gap"]["skill"]))
        if gap["mean"] is not None
    ]
    if not parts:
        return ""
    return (
        f"The model is above {data.null['refits']} refits to shifted channels by an "
        f"{' and a '.join(parts)} (mean ± standard deviation over the refits)."
    )
