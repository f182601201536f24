"""What the command line shows of an evaluation: tables, then the verdict."""

from rich.console import Console
from rich.table import Table

# More channels than this have no table; they are in the JSON document.
FEW_CHANNELS = 12


def show_evaluation(evaluation):
    """Prints an `Evaluation`."""
    screen = Console(highlight=False)
    screen.print(scores_table(evaluation))
    if len(evaluation.channels) <= FEW_CHANNELS:
        screen.print(channels_table(evaluation))
    if evaluation.test.latents_r2 is not None:
        screen.print(latents_table(evaluation))
    if evaluation.test.imputation is not None:
        screen.print(imputation_table(evaluation.test.imputation))
    for verdict in evaluation.verdict:
        screen.print(f"{verdict.code}: {verdict.sentence}", markup=False, soft_wrap=True)


def scores_table(evaluation):
    """A `rich` table with a row for each split and each simple method."""
    test = evaluation.test
    caption = "ELBO, IWAE and KL per window"
    if test.bits_per_sample is not None:
        caption += f"; {test.bits_per_sample:.3f} bits per observed value of {evaluation.split}"
    title = f"Held-out {evaluation.split} data, {test.num_windows} windows"
    if test.seen_in_training:
        title = f"{evaluation.split} data that was trained on, {test.num_windows} windows"
    table = Table(title=title, caption=caption)
    table.add_column("")
    for name in ("R2", "skill", "MSE", "ELBO", "IWAE", "KL", "active"):
        table.add_column(name, justify="right")
    beside = {} if evaluation.train is None else {"train": evaluation.train}
    if evaluation.validation is not None:
        trained_on = ", trained on" if evaluation.validation.seen_in_training else ""
        beside = {f"validation{trained_on}": evaluation.validation} | beside
    for name, scores in (_scored(evaluation) | beside | _baselines(evaluation)).items():
        table.add_row(
            name,
            *(number(value) for value in (scores.r2, scores.skill, scores.mse)),
            *(number(getattr(scores, bound, None), 1) for bound in ("elbo", "iwae", "kl")),
            str(getattr(scores, "active_units", "-")),
        )
    return table


def channels_table(evaluation):
    """A `rich` table with R2 of each channel of the held-out data."""
    table = Table(title=f"R2 of each channel, {evaluation.split}")
    table.add_column("channel", overflow="fold")
    table.add_column("missing", justify="right")
    methods = _scored(evaluation) | _baselines(evaluation)
    for name in methods:
        table.add_column(name, justify="right")
    for index, channel in enumerate(evaluation.test.per_channel):
        scores = (number(scores.per_channel[index].r2) for scores in methods.values())
        table.add_row(channel.name, f"{channel.missing:.1%}", *scores)
    return table


def latents_table(evaluation):
    """A `rich` table of how well true latents can be read from those of the model, and from PCA."""
    table = Table(title="R2 of true latents, read from the codes")
    table.add_column("")
    for name in ("VAE", "PCA"):
        table.add_column(name, justify="right")
    pca = evaluation.baselines.pca.latents_r2
    for readout, targets in evaluation.test.latents_r2.items():
        for target, r2 in targets.items():
            table.add_row(f"{target}, {readout}", number(r2), number(pca[readout][target]))
    return table


def imputation_table(scores):
    """A `rich` table of what `score_imputation` found; `coverage` is of 90 % intervals."""
    table = Table(title="R2 of what was hidden, and filled in")
    table.add_column("hidden")
    methods = list(dict.fromkeys(method for row in scores.values() for method in row))
    methods.sort(key=lambda method: method == "coverage")  # which is no R2, last
    for method in methods:
        table.add_column({"vae": "VAE", "ppca": "pPCA"}.get(method, method), justify="right")
    for pattern, row in scores.items():
        table.add_row(pattern, *(number(row.get(method)) for method in methods))
    return table


def _scored(evaluation):
    """The model on the data that is scored, by name."""
    scores = {evaluation.split: evaluation.test}
    if evaluation.test.refined is not None:
        scores[f"{evaluation.split}, refined"] = evaluation.test.refined
    return scores


def _baselines(evaluation):
    """The simple methods on the same data, by name."""
    found = evaluation.baselines
    return {} if found is None else {"PCA": found.pca, "pPCA": found.ppca, "mean": found.mean}


def number(value, digits=3):
    """A number as it stands in a table, with a dash for `None`."""
    return "-" if value is None else f"{value:.{digits}f}"
