"""The tables of the checks that say whether to believe a model."""

from rich.table import Table

from ceneurovae.evaluation_table import number
from ceneurovae.hints import JSON


def control_tables(found: JSON) -> list[Table]:
    """A `rich` table for each of the controls that were made.

    Args:
        found: Dictionary of what `null_control`, `decode_labels` and `seed_agreement` gave, named
            `null`, `decoding` and `seeds`.
    """
    makers = {"null": null_table, "decoding": decoding_table, "seeds": seeds_table}
    return [makers[name](result) for name, result in found.items()]


def null_table(found: JSON) -> Table:
    """Scores of the run and of refits on data without its structure."""
    table = Table(title=f"Trained on null data, {found['refits']} refits, {found['split']} data")
    table.add_column("")
    scores = {"r2": "R2", "skill": "skill"}
    for label in scores.values():
        table.add_column(label, justify="right")
    table.add_row("real data", *(number(found["real"][name]) for name in scores))
    for row in found["shifted"]:
        table.add_row(f"channels shifted, seed {row['seed']}", *(number(row[n]) for n in scores))
    shuffled = found["time_shuffled"]
    if shuffled:
        table.add_row("time shuffled", *(number(shuffled[name]) for name in scores))
    table.add_row("real above shifted", *(_spread(found["gap"][name]) for name in scores))
    return table


def decoding_table(found: JSON) -> Table:
    """Scores of labels, a line each."""
    data = "data of all splits" if found["split"] == "all" else f"{found['split']} data"
    table = Table(
        title=f"Labels read from a window, {found['folds']} folds, {data}",
        caption="acc.: balanced accuracy of classes. *: a channel of the model.",
    )
    table.add_column("label", overflow="fold")
    table.add_column("")
    columns = {"latents": "latents", "pca": "PCA", "channels": "channels", "null": "null"}
    for label in columns.values():
        table.add_column(label, justify="right", no_wrap=True)
    for row in found["labels"]:
        name = row["name"] + (" *" if row["in_model"] else "")
        metric = {"r2": "R2", "balanced_accuracy": "acc."}[row["metric"]]
        table.add_row(name, metric, *(_spread(row[column], 2) for column in columns))
    return table


def seeds_table(found: JSON) -> Table:
    """How well the latents of each seed predict those of each other."""
    table = Table(title=f"R2 of one seed's latents from another's, {found['split']} data")
    table.add_column("from \\ to")
    scores = {(pair["from"], pair["to"]): pair["r2"] for pair in found["pairs"]}
    for seed in found["seeds"]:
        table.add_column(str(seed), justify="right")
    for one in found["seeds"]:
        table.add_row(str(one), *(number(scores.get((one, other))) for other in found["seeds"]))
    table.caption = f"mean {_spread(found)}"
    if found["linear"]:
        table.caption += "; no run kept its networks, and no seed decides the rest"
    return table


def _spread(score: JSON, digits: int = 3) -> str:
    spread = "" if score["std"] is None else f" ± {score['std']:.{digits}f}"
    return number(score["mean"], digits) + spread
