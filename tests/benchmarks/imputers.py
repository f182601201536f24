"""Imputation of worm behaviour, beside SAITS, BRITS and GP-VAE of PyPOTS.

    export CENEUROVAE_TEST_DATA=FOLDER
    python tests/benchmarks/imputers.py export windows.npz
    KERAS_BACKEND=jax python tests/benchmarks/imputers.py ours windows.npz ours.json
    python tests/benchmarks/imputers.py pypots windows.npz pypots.json   # with PyPOTS installed
    python tests/benchmarks/imputers.py table ours.json pypots.json

PyPOTS (`pip install pypots`, BSD-3) wants an environment of its own, so windows and results go
through files. The data are the behaviours of the first two worms that were recorded at 1.67 Hz,
`(60, 3)`, split as in `quality.py`. All methods fit to the training windows and use the validation
windows for their choices; `ours, refit` fits to both after that. PyPOTS trains on windows that have
gaps of the same kind, which it does better on than on complete ones. Test windows lose 20 % of
their entries, or a span of 15 samples in each channel, or both at once; R2 is that of what was
hidden, in standard deviations of the training data. Seconds are those of the process, on one
thread.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

METHODS = ("SAITS", "BRITS", "GP-VAE")
EPOCHS, PATIENCE, BATCH_SIZE = 200, 10, 32
HIDDEN_SHARE, SPAN, LATENTS = 0.2, 15, 32


def patterns(shape, seed):
    """What is hidden from test windows: name -> bool `(n, T, C)`."""
    rng = np.random.default_rng(seed)
    random = rng.random(shape) < HIDDEN_SHARE
    begin = rng.integers(0, shape[1] - SPAN + 1, size=(shape[0], 1, shape[2]))
    time = np.arange(shape[1])[:, None]
    spans = (time >= begin) & (time < begin + SPAN)
    return {"random": random, "spans": spans, "both": random | spans}


def export(path):
    """Writes the windows, scaled by the training data."""
    from quality import Scale, some
    from quality_data import BEHAVIORS, TEST_FRACTION, WORMS

    from ceneurovae.readers import read_recordings
    from ceneurovae.splits import split_datasets

    files = sorted(Path(os.environ["CENEUROVAE_TEST_DATA"]).glob(WORMS))
    recordings = [recording for file in files for recording in read_recordings(file, BEHAVIORS)]
    recordings = [r for r in recordings if 1.6 < r.rate_hz < 1.7][:2]
    splits = split_datasets(recordings, 60, test_fraction=TEST_FRACTION)
    scale = Scale(splits.train)
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    parts["joined"] = splits.joined()
    arrays = {name: scale(some(part, 5000)).astype("float32") for name, part in parts.items()}
    np.savez(path, **arrays)


def scored(name, impute, seconds, test):
    """A row of the table, from a function that fills in NaN."""
    row = {"method": name, "seconds": seconds}
    for pattern, hidden in patterns(test.shape, seed=0).items():
        error = np.square(impute(np.where(hidden, np.nan, test)) - test)[hidden]
        means = np.nanmean(np.where(hidden, test, np.nan), axis=(0, 1))
        row[pattern] = float(1 - error.sum() / np.square(test - means)[hidden].sum())
    return row


def with_pypots(windows):
    """The rows of PyPOTS, which trains on windows with gaps of the kind that are scored."""
    import torch
    from pypots.imputation import BRITS, GPVAE, SAITS

    torch.set_num_threads(1)
    _, steps, channels = windows["train"].shape
    hidden = patterns(windows["valid"].shape, seed=1)["both"]
    valid = {"X": np.where(hidden, np.nan, windows["valid"]), "X_ori": windows["valid"]}
    common = {"n_steps": steps, "n_features": channels, "epochs": EPOCHS, "patience": PATIENCE}
    common |= {"batch_size": BATCH_SIZE, "device": "cpu", "verbose": False}
    models = {
        "SAITS": lambda: SAITS(
            n_layers=2, d_model=256, n_heads=4, d_k=64, d_v=64, d_ffn=128, dropout=0.1, **common
        ),
        "BRITS": lambda: BRITS(rnn_hidden_size=128, **common),
        "GP-VAE": lambda: GPVAE(latent_size=LATENTS, **common),
    }
    for name in METHODS:
        torch.manual_seed(0)
        start = time.process_time()
        model = models[name]()
        model.fit({"X": with_missing(windows["train"])}, valid)
        seconds = time.process_time() - start
        yield scored(name, lambda x, model=model: filled_by(model, x), seconds, windows["test"])


def with_missing(x):
    """Windows with the pattern `both`, another one in each."""
    return np.where(patterns(x.shape, seed=2)["both"], np.nan, x)


def filled_by(model, x):
    filled = np.asarray(model.impute({"X": x}))
    return filled.mean(axis=1) if filled.ndim == 4 else filled  # GP-VAE gives draws


def with_ours(windows):
    """The rows of this package, and of the baselines of the quality benchmark."""
    import keras
    from baselines import Interpolation, WindowGaussian

    from ceneurovae import NeuroBehaviorVAE, VAEConfig, train

    def both(x):
        return np.where(patterns(x.shape, seed=1)["both"], np.nan, x)

    for name, baseline in (
        ("interpolation", Interpolation()),
        ("window Gaussian", WindowGaussian([both])),
    ):
        start = time.process_time()
        baseline.fit(windows["train"], windows["valid"])
        yield scored(name, baseline.impute, time.process_time() - start, windows["test"])
    for name, refit in (("ours", False), ("ours, refit", True)):
        keras.utils.set_random_seed(0)
        start = time.process_time()
        model = NeuroBehaviorVAE(VAEConfig(seq_len=60, latent_dim=LATENTS))
        train(model, windows["train"], windows["valid"], refit=refit, seed=0, verbose=0)
        seconds = time.process_time() - start
        yield scored(name, model.impute, seconds, windows["test"])


def table(rows):
    columns = ("both", "random", "spans", "seconds")
    lines = [f"{'':18}" + "".join(column.rjust(10) for column in columns)]
    for row in rows:
        cells = (f"{row[column]:.{1 if column == 'seconds' else 3}f}" for column in columns)
        lines.append(f"{row['method']:18}" + "".join(cell.rjust(10) for cell in cells))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=("export", "ours", "pypots", "table"))
    parser.add_argument("files", nargs="+", type=Path, help="windows.npz, results")
    arguments = parser.parse_args()
    if arguments.step == "export":
        export(arguments.files[0])
    elif arguments.step == "table":
        print(table([row for file in arguments.files for row in json.loads(file.read_text())]))
    else:
        methods = {"ours": with_ours, "pypots": with_pypots}[arguments.step]
        rows = []
        for row in methods(dict(np.load(arguments.files[0]))):
            rows.append(row)
            arguments.files[1].write_text(json.dumps(rows, indent=1))
        print(table(rows))


if __name__ == "__main__":
    main()
