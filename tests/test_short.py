"""Recordings shorter than a window are an error, left out, or filled up."""

import h5py
import numpy as np
import pytest

from ceneurovae import NeuroBehaviorVAE, VAEConfig, import_h5, split_datasets, train
from ceneurovae.encoding import encode_file
from ceneurovae.import_data import reload_splits
from ceneurovae.recording import Recording


def recordings(*lengths, breaks=()):
    return [
        Recording(f"r{i}", np.arange(n)[:, None] + 1.0, ("a",), breaks=breaks)
        for i, n in enumerate(lengths)
    ]


def test_an_error_by_default_says_what_can_be_done():
    with pytest.raises(ValueError, match=r"'r1' has 7 samples but the window is 10.*short='pad'"):
        split_datasets(recordings(50, 7), 10, by="recording", valid_fraction=0)
    with pytest.raises(ValueError, match="short is 'cut', expected one of error, drop, pad"):
        split_datasets(recordings(50), 10, short="cut")


def test_drop_leaves_them_out_and_says_so():
    with pytest.warns(UserWarning, match="2 of 4 recordings are shorter than 10 .* out: r1, r3"):
        splits = split_datasets(recordings(50, 7, 20, 9), 10, by="recording", short="drop")
    assert {r.name for r in splits.train.recordings} == {"r0", "r2"}
    # By time, a window must fit into each block: 10 + 10 of gap + 10.
    with pytest.warns(UserWarning, match="1 of 2 recordings are shorter than 30 samples"):
        splits = split_datasets(recordings(50, 29), 10, short="drop")
    assert [r.name for r in splits.train.recordings] == ["r0"]
    with pytest.raises(ValueError, match="All 2 recordings are too short: the longest has 9 samp"):
        split_datasets(recordings(7, 9), 10, short="drop")


def test_pad_fills_up_with_nan():
    splits = split_datasets(
        recordings(12, 7, 10), 10, by="recording", valid_fraction=0, short="pad"
    )
    windows = splits.train.gather()[..., 0]
    assert len(windows) == 3 + 1 + 1
    short = windows[3]
    np.testing.assert_array_equal(short[:7], np.arange(1, 8))
    assert np.isnan(short[7:]).all()
    assert not np.isnan(np.delete(windows, 3, axis=0)).any()


def test_pad_fills_every_short_stretch():
    splits = split_datasets(
        recordings(20, breaks=[4]), 10, by="recording", valid_fraction=0, short="pad"
    )
    windows = splits.train.gather()[..., 0]
    assert np.isnan(windows[0, 4:]).all()
    assert windows[1:, 0].tolist() == [5, 6, 7, 8, 9, 10, 11]


@pytest.mark.once
def test_series_of_unequal_length_train_with_pad(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        ":".join(",".join(map(str, rng.normal(size=n).round(3))) for _ in range(3)) + f":{n % 2}"
        for n in rng.integers(4, 12, size=40)
    ]
    path = tmp_path / "series.ts"
    path.write_text("\n".join(["@classLabel true 0 1", "@data", *lines]) + "\n")
    data, valid = import_h5(path, seq_len=12, by="recording", short="pad", batch_size=8)
    model = NeuroBehaviorVAE(VAEConfig(seq_len=12, latent_dim=2, hidden_dim=8))
    run = {"run_dir": tmp_path / "run", "epochs": 2, "batch_size": 8, "verbose": 0}
    history = train(model, data, valid, **run)
    assert np.isfinite(history.history["loss"]).all()
    again = reload_splits(data.splits.manifest())
    np.testing.assert_array_equal(again.valid.gather(), valid.source.gather())
    encode_file(tmp_path / "run", path, tmp_path / "latents.h5")
    with h5py.File(tmp_path / "latents.h5") as file:
        assert len(file["series"]) == 40
        assert file["series/01/mu"].shape == (1, 2)
