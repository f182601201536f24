"""The runs in a folder, side by side. Reads JSON and CSV only."""

from pathlib import Path

from ceneurovae.run_folder import REFITS, RunFolder, is_run


def compare_runs(path):
    """What every run in a folder is and has reached.

    Args:
        path: A run folder, or a folder with run folders anywhere below it. What was refitted to
            check a run is left out.

    Returns:
        One dictionary of JSON types for each run, in the order of their paths: `path`; `finished`;
        `backbone`, `latent_dim`, `seed` and `backend`; `epochs`, those gone through; `valid_elbo`,
        the highest (KL weight 1); and from `metrics.json`, where there is one, `r2`, that of the
        `encoder`, `refined`, and of `pca`, on the `split`, and `seen_in_training`, whether
        the model was trained on that.

    Raises:
        FileNotFoundError: if there is no run.
    """
    path = Path(path)
    files = [f for f in path.rglob("config.json") if REFITS not in f.relative_to(path).parts]
    folders = sorted(file.parent for file in files if is_run(file.parent))
    runs = [_describe(RunFolder(folder)) for folder in folders if (folder / "split.json").exists()]
    if not runs:
        raise FileNotFoundError(f"There is no run in '{path}' or below it.")
    return runs


def _describe(run):
    rows = run.read_history() if run.has_history else []
    elbos = [row["val_elbo"] for row in rows if "val_elbo" in row]
    found = {
        "path": str(run.path),
        "finished": run.is_finished,
        "backbone": run.config.backbone,
        "latent_dim": run.config.latent_dim,
        "seed": run.training["seed"],
        "backend": run.environment["backend"],
        "epochs": len(rows),
        "valid_elbo": max(elbos) if elbos else None,
    }
    if run.has_metrics:
        metrics = run.read_metrics()
        found["split"] = metrics["split"]
        found["r2"] = _r2(metrics)
        found["seen_in_training"] = metrics["split"] == "valid" and run.refitted
    return found


def _r2(metrics):
    """By method, those that there are."""
    if "version" in metrics:
        test, baselines = metrics["test"], metrics.get("baselines", {})
        scores = {"encoder": test, "refined": test.get("refined"), "pca": baselines.get("pca")}
    else:  # as it was before there were versions
        scores = {"encoder": metrics["vae"]} | {n: metrics.get(n) for n in ("refined", "pca")}
    return {name: score["r2"] for name, score in scores.items() if score is not None}
