"""Quality: reconstruction and imputation of held-out data, beside PCA and others.

    export CENEUROVAE_TEST_DATA=FOLDER
    KERAS_BACKEND=jax python tests/benchmarks/quality.py --refit --json quality.json

Trains with default settings on every data set of `quality_data.py`, with 8 and 32 latents, from 3
seeds. Errors are counted in standard deviations of the channel in the training data, summed over
channels, over observed entries: `R2 = 1 - SSE / SST` about the test mean of each channel, `skill`
the same about the training mean. For imputation the test windows lose 20 % of their entries at
random, or a span of 15 samples in each channel, or their last quarter, or a group of channels; all
baselines are given the same windows, and only what was hidden counts.

`elbo` is in nats per window of scaled values: for pPCA the exact log-likelihood, for this package
the bound, in the units of its own scaler. `bits` are those
per sample of counts under a Poisson likelihood: of a constant rate for `mean`, of the bound for
this package.

Numbers are means over seeds, `+-` half the range between seeds. PCA is the best on the test data
of centred and uncentred, missing entries interpolated or at the mean, which favours it. A method
without latents has one line per data set.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from baselines import (
    MAX_ENTRIES,
    PCA,
    ChannelMean,
    Interpolation,
    LastValue,
    PlainVAE,
    ProbabilisticPCA,
    RidgeDecoder,
    WindowGaussian,
    poisson_bits,
)
from quality_data import named

# Evenly spaced ones, where there are more; to impute takes longer.
TRAIN_WINDOWS, TEST_WINDOWS, IMPUTED_WINDOWS = 5000, 2000, 400
HIDDEN_SHARE, SPAN = 0.2, 15
REFINE_STEPS = 10
COLUMNS = ("r2", "skill", "random", "spans", "forecast", "decode", "elbo", "bits", "seconds")
COLUMN_WIDTH = 15


def ours(splits, latents, seed, refit=False, **config):
    """This package with its default settings: `(model, SplitScores, seconds)`.

    The only place that knows how a model is made and trained.
    """
    import keras

    from ceneurovae import NeuroBehaviorVAE, VAEConfig, evaluate, train
    from ceneurovae.config import groups_of
    from ceneurovae.pipeline import stream
    from ceneurovae.recipe import BATCH_SIZE

    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    config.setdefault("channel_groups", groups_of(splits.train.channels))
    config = VAEConfig(seq_len=splits.train.seq_len, latent_dim=latents, **config)
    model = NeuroBehaviorVAE(config)
    train_ds, valid_ds, _ = stream(splits, BATCH_SIZE, seed=seed)
    train(model, train_ds, valid_ds, seed=seed, refit=refit, verbose=0)
    seconds = time.perf_counter() - start
    found = evaluate(model, some(splits.test, TEST_WINDOWS), imputation=False)
    return model, found.test, seconds


def some(windows, count):
    """At most `count` evenly spaced windows, as an array `(n, T, C)`."""
    chosen = np.linspace(0, len(windows) - 1, min(len(windows), count)).astype("int64")
    return windows.gather(chosen)


class Scale:
    """Standard deviations of the channels in the training data, each sample counted once."""

    def __init__(self, windows):
        samples = np.concatenate(list(windows.samples())).astype("float64")
        self.mean, std = np.nanmean(samples, axis=0), np.nanstd(samples, axis=0)
        self.std = np.where(std > 1e-6 * np.abs(self.mean), std, 1.0)

    def __call__(self, x):
        return (x - self.mean) / self.std


def hide_random(x, rng):
    """`HIDDEN_SHARE` of all entries."""
    return rng.random(x.shape) < HIDDEN_SHARE


def hide_spans(x, rng):
    """A span of `SPAN` samples in each channel of each window, wherever it may begin."""
    begin = rng.integers(0, x.shape[1] - SPAN + 1, size=(len(x), 1, x.shape[2]))
    time = np.arange(x.shape[1])[:, None]
    return (time >= begin) & (time < begin + SPAN)


def hide_last(x, rng):
    """The last quarter of each window."""
    return np.broadcast_to(np.arange(x.shape[1])[:, None] >= x.shape[1] * 3 // 4, x.shape)


def hide_channels(targets):
    """All of some channels."""
    return lambda x, rng: np.broadcast_to(np.isin(np.arange(x.shape[2]), targets), x.shape)


def hidden_windows(x, hide, seed=0):
    """`x` with what `hide` chooses at NaN; the same for the same shape and seed."""
    return np.where(hide(x, np.random.default_rng(seed)), np.nan, x).astype(x.dtype)


def scores(target, estimate):
    """R2 and skill over all entries of scaled windows that are not NaN in `target`."""
    target = np.asarray(target, dtype="float64")
    error = np.nansum(np.square(target - estimate))
    mean = np.nansum(target, axis=(0, 1)) / np.maximum((~np.isnan(target)).sum(axis=(0, 1)), 1)
    about_mean = np.nansum(np.square(target - mean))
    return {"r2": 1 - error / about_mean, "skill": 1 - error / np.nansum(np.square(target))}


class Task:
    """One split of one data set, and what is asked of every method on it.

    Args:
        data: `DataSet`.
        splits: Its `Splits`.
        refit: Whether to fit to training and validation data once the choices are made.
    """

    def __init__(self, data, splits, refit):
        self.data, self.splits, self.refit = data, splits, refit
        self.last = None
        self.scale = Scale(splits.train)
        self.raw = some(splits.test, TEST_WINDOWS)
        self.train, self.valid, self.test = (
            self.scale(x)
            for x in (
                some(splits.train, TRAIN_WINDOWS),
                some(splits.valid, TRAIN_WINDOWS),
                self.raw,
            )
        )
        if refit:
            self.last = self.scale(some(splits.joined(), TRAIN_WINDOWS))
        self.complete = some(splits.test, IMPUTED_WINDOWS)
        self.hide = {"random": hide_random, "spans": hide_spans, "forecast": hide_last}
        self.decoded = []
        if data.decoded is not None:
            channels = splits.train.channels
            self.decoded = [i for i, name in enumerate(channels) if name.startswith(data.decoded)]
            self.hide["decode"] = hide_channels(self.decoded)

    def reconstruction(self, estimate):
        """`r2` and `skill` of scaled windows."""
        return scores(self.test, estimate)

    def imputation(self, impute):
        """R2 on hidden entries, of a function from raw to scaled windows, for each pattern."""
        found = {}
        for name, hide in self.hide.items():
            x = hidden_windows(self.complete, hide)
            target = np.where(np.isnan(x), self.scale(self.complete), np.nan)
            found[name] = scores(target, impute(x))["r2"]
        return found

    def fitted(self, model):
        """The model, fitted, and the seconds that took."""
        start = time.perf_counter()
        model.fit(self.train, self.valid, refit=self.last)
        return model, time.perf_counter() - start

    def baseline(self, model):
        """The scores of a baseline."""
        model, seconds = self.fitted(model)
        row = {"seconds": seconds}
        if hasattr(model, "reconstruct"):
            row |= self.reconstruction(model.reconstruct(self.test))
        if hasattr(model, "impute"):
            row |= self.imputation(lambda x: model.impute(self.scale(x)))
        if hasattr(model, "log_likelihood"):
            row["elbo"] = float(model.log_likelihood(self.test).mean())
        return row

    def pca(self, latents):
        """The PCA that is best on the test data."""
        kinds = [PCA(latents, centred, fill) for centred in (True, False) for fill in (True, False)]
        if not (np.isnan(self.train).any() or np.isnan(self.test).any()):
            kinds = [pca for pca in kinds if pca.interpolate]
        return max((self.baseline(pca) for pca in kinds), key=lambda row: row["r2"])

    def without_latents(self):
        """`(method, scores)` of what does not depend on the number of latents or on a seed."""
        yield "mean", self.baseline(ChannelMean()) | self.reconstruction(0.0) | self.constant_rate()
        yield "interpolation", self.baseline(Interpolation())
        last = self.baseline(LastValue())
        yield "last value", {"forecast": last["forecast"], "seconds": last["seconds"]}
        if np.prod(self.train.shape[1:]) <= MAX_ENTRIES:
            hides = [
                lambda x, hide=hide: hidden_windows(x, hide, seed=1)
                for hide in (hide_random, hide_spans)
            ]
            yield "window Gaussian", self.baseline(WindowGaussian(hides))
        if self.decoded:
            ridge, seconds = self.fitted(RidgeDecoder(self.decoded))
            row = self.imputation(lambda x: ridge.impute(self.scale(x)))
            yield "ridge", {"decode": row["decode"], "seconds": seconds}

    def constant_rate(self):
        """Of counts, the bits per sample of one rate per channel, that of the training data."""
        return {"bits": poisson_bits(self.raw, self.scale.mean)} if self.data.counts else {}

    def with_latents(self, latents):
        """`(method, scores)` of what does not depend on a seed."""
        yield "PCA", self.pca(latents)
        yield "pPCA", self.baseline(ProbabilisticPCA(latents))

    def ours(self, latents, seed, **config):
        """`(method, scores)` of this package: the encoder alone, and refined."""
        if self.data.counts:
            config["reconstruction_loss"] = "poisson"
        model, found, seconds = ours(self.splits, latents, seed, self.refit, **config)
        shared = {"seconds": seconds, "elbo": found.elbo}
        if self.data.counts:
            shared["bits"] = found.bits_per_sample
        encoded = self.scale(model.reconstruct(self.raw))
        yield "ours, encoder", self.reconstruction(encoded) | shared
        refined = self.scale(model.reconstruct(self.raw, refine=REFINE_STEPS))
        filled = self.imputation(lambda x: self.scale(model.impute(x)))
        yield "ours, refined", self.reconstruction(refined) | filled | shared


def rows_of(data, arguments):
    """The rows of one data set: dictionaries of names and numbers."""
    first = arguments.seeds[0]
    for seed in arguments.seeds:
        if seed == first or data.folds:
            splits = data.splits(seed)
            if splits is None:
                print(f"{data.name}: skipped, no {data.files} in $CENEUROVAE_TEST_DATA", flush=True)
                return
            task = Task(data, splits, arguments.refit)
            label = {"data": data.name, "seed": seed, "channels": len(splits.train.channels)}
            label |= {"seq_len": splits.train.seq_len, "refit": arguments.refit}
            for method, row in task.without_latents():
                yield {**label, "latents": None, "method": method, **row}
        for latents in arguments.latents:
            own = {**label, "seed": seed, "latents": latents}
            if seed == first or data.folds:
                for method, row in task.with_latents(latents):
                    yield {**own, "method": method, **row}
            if arguments.plain:
                yield {**own, "method": "plain VAE", **task.baseline(PlainVAE(latents, seed))}
            if arguments.ours:
                chosen = {"backbone": arguments.backbone, "hidden_dim": arguments.hidden_dim}
                config = {name: value for name, value in chosen.items() if value}
                for method, row in task.ours(latents, seed, **config):
                    yield {**own, "method": method, **config, **row}


def table(rows):
    """The rows as text, one line per method and number of latents."""
    lines = []
    grouped = defaultdict(list)
    for row in rows:
        grouped[row["data"], row["latents"], row["method"]].append(row)
    previous = None
    for (data, latents, method), group in grouped.items():
        if data != previous:
            shape = f"({group[0]['seq_len']}, {group[0]['channels']})"
            lines += [
                "",
                f"{data} {shape}".ljust(28) + "".join(c.rjust(COLUMN_WIDTH) for c in COLUMNS),
            ]
            previous = data
        cells = [_cell([row[c] for row in group if c in row], c) for c in COLUMNS]
        size = "" if latents is None else f"Z={latents}"
        lines.append(f"  {method:<18}{size:<8}" + "".join(cells))
    return "\n".join(lines)


def _cell(values, column):
    if not values:
        return "".rjust(COLUMN_WIDTH)
    digits = {"elbo": 1, "seconds": 1}.get(column, 4)
    text = f"{np.mean(values):.{digits}f}"
    if np.ptp(values) > 0:
        text += f"+-{np.ptp(values) / 2:.{min(digits, 3)}f}".replace("+-0.", "+-.")
    return text.rjust(COLUMN_WIDTH)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=[], help="data sets; all by default")
    parser.add_argument("--latents", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbone", help="another than the default")
    parser.add_argument("--hidden-dim", type=int, help="another width than the default")
    parser.add_argument("--refit", action="store_true", help="fit all to train and validation")
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="no plain VAE")
    parser.add_argument("--no-ours", dest="ours", action="store_false", help="baselines only")
    parser.add_argument("--json", type=Path, help="file for all rows, written after each data set")
    arguments = parser.parse_args()
    rows = []
    for data in named(arguments.data):
        found = list(rows_of(data, arguments))
        rows += found
        print(table(found), flush=True)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
