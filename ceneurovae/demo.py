"""The demo: a simulated worm, whose latents are known, from file to result."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ceneurovae.baselines import fit_pca, pca_codes
from ceneurovae.config import VAEConfig
from ceneurovae.evaluation import readout_r2
from ceneurovae.hints import Array, PathLike
from ceneurovae.import_data import load_splits
from ceneurovae.recipe import BATCH_SIZE
from ceneurovae.results import Evaluation
from ceneurovae.run_folder import RunFolder
from ceneurovae.runs import train_run
from ceneurovae.simulation import LATENTS, latents_at_center, simulate_worms

CONFIG = VAEConfig(latent_dim=8)


def run_demo(
    out: PathLike, seed: int = 0, overwrite: bool = False, callbacks: Sequence[Any] = ()
) -> Evaluation:
    """Simulates worms, trains on them, and compares VAE and PCA on held-out time.

    Args:
        out: Run folder to write; the simulated recordings are beside the run in `worms.h5`.
        seed: Decides the worms, the order of the windows and the weights.
        overwrite: Whether to replace a run in `out`.
        callbacks: Keras callbacks.

    Returns:
        As `evaluate_run`, with `latents_r2` of `test` and of PCA: how well each of the true latents
        at the middle of a window can be read from `mu` or from the principal components, in the
        two ways of `readout_r2`.
    """
    path = Path(out) / "worms.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    simulate_worms(path, seed=seed)
    splits = load_splits(path, seq_len=20, stride=2, test_fraction=0.2, seed=seed)
    result: Any = train_run(
        splits,
        CONFIG,
        out,
        seed,
        BATCH_SIZE,
        overwrite=overwrite,
        callbacks=callbacks,
        verbose=0,
    )
    run = RunFolder(out)
    model = run.load_model()
    pca = fit_pca(model, splits.train)
    truth = [latents_at_center(path, windows) for windows in (splits.train, splits.test)]
    values = [windows.gather() for windows in (splits.train, splits.test)]
    test, baselines = result.test, result.baselines
    codes, scores = [model.encode(x).mu for x in values], [pca_codes(model, pca, x) for x in values]
    test = dataclasses.replace(test, latents_r2=_latents_r2(codes, truth))
    if baselines is not None:
        with_latents = dataclasses.replace(baselines.pca, latents_r2=_latents_r2(scores, truth))
        baselines = dataclasses.replace(baselines, pca=with_latents)
    result = dataclasses.replace(result, test=test, baselines=baselines)
    run.write_metrics(result.to_json())
    return result


def _latents_r2(codes: Sequence[Array], truth: Sequence[Array]) -> dict[str, dict[str, float]]:
    """`readout_r2` from training and test codes, by name of the readout and of the latent."""
    scores = readout_r2(codes[0], truth[0], codes[1], truth[1])
    return {name: dict(zip(LATENTS, r2, strict=True)) for name, r2 in scores.items()}
