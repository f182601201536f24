"""Whole recordings, filled in and reconstructed: every sample, at its place."""

import json
import shutil

import h5py
import numpy as np
import pytest
from conftest import make_windows, tiny_config
from test_verdict import sound_evaluation

from ceneurovae import NeuroBehaviorVAE, split_datasets
from ceneurovae.encoding import encode_file
from ceneurovae.evaluation import evaluate_run
from ceneurovae.inspection import inspect_file
from ceneurovae.model.refine import REFINE
from ceneurovae.model.vae import Posterior
from ceneurovae.readers import read_recordings
from ceneurovae.recording import Recording
from ceneurovae.run_folder import RunFolder
from ceneurovae.stitching import stitched, taper
from ceneurovae.traces import impute_file, reconstruct_file
from ceneurovae.windows import Windows, covering_runs

T = 12


def covered(*recordings, stride=5):
    return Windows.from_runs(recordings, T, [covering_runs(r, T, stride) for r in recordings])


def noise(samples, name="a", **fields):
    values = np.random.default_rng(samples).normal(size=(samples, 3))
    return Recording(name, values, ("x", "y", "z"), **fields)


@pytest.mark.parametrize("stride", [1, 3, 5, T])
def test_windows_cover_every_stretch_that_one_fits_and_cross_no_break(stride):
    recording = noise(88, breaks=[20, 26, 38])  # 20, 6, 12 and 50 samples
    windows = covered(recording, stride=stride)
    assert windows.covered(0).tolist() == [[0, 20], [26, 88]]
    for start in windows.start:
        assert not any(start < brk < start + T for brk in recording.breaks)
    assert len(set(windows.start)) == len(windows)


@pytest.mark.parametrize("stride", [0, T + 1, 2.5])
def test_a_stride_that_leaves_samples_out_is_refused(stride):
    with pytest.raises(ValueError, match=r"stride is .*, expected a whole number from 1 to 12"):
        covered(noise(88), stride=stride)


def test_windows_of_a_file_are_their_own_traces():
    values = make_windows(4)
    windows = covered(Recording.from_windows("a", values, ("x", "y", "z")))
    ((_, overlap),) = stitched(windows, lambda x, first: [x])
    (found,) = overlap.means()
    assert overlap.seam_error() is None
    np.testing.assert_array_equal(found, values.reshape(-1, 3))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_overlapping_windows_are_averaged_with_falling_weights(batch_size):
    recordings = noise(40), noise(T, "b"), noise(37, "c", breaks=[15, 20])
    windows = covered(*recordings)
    number = np.random.default_rng(0).normal(size=len(windows))

    def predict(x, first):
        return [x, np.ones_like(x) * number[first : first + len(x), None, None]]

    found = dict(stitched(windows, predict, batch_size))
    assert list(found) == [0, 1, 2]
    for index, recording in enumerate(recordings):
        same, averaged = found[index].means()
        total = np.zeros((2, len(recording.values)))
        for value, owner, start in zip(number, windows.recording, windows.start, strict=True):
            if owner == index:
                weight = np.array([1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1])
                total[:, start : start + T] += weight, weight * value
        inside = total[0] > 0
        np.testing.assert_allclose(same[inside], recording.values[inside], rtol=1e-6)
        expected = total[1, inside] / total[0, inside]
        np.testing.assert_allclose(averaged[inside], np.tile(expected, (3, 1)).T, rtol=1e-5)
        assert np.isnan(same[~inside]).all()
    assert np.isnan(found[2].means()[0]).any(axis=1).nonzero()[0].tolist() == [15, 16, 17, 18, 19]


def test_nothing_comes_over_a_break():
    def means(second):
        values = np.concatenate([noise(20).values, second])
        windows = covered(Recording("a", values, ("x", "y", "z"), breaks=[20]))
        ((_, overlap),) = stitched(windows, lambda x, _: [x + x.mean(axis=1, keepdims=True)])
        return overlap.means()[0]

    calm, wild = means(noise(30).values), means(1000 * noise(30).values)
    np.testing.assert_array_equal(calm[:20], wild[:20])
    assert (calm[20:] != wild[20:]).all()


def test_a_batch_is_at_least_a_window():
    with pytest.raises(ValueError, match="batch_size is 0, expected a whole number of at least 1"):
        next(stitched(covered(noise(20)), None, 0))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A file with recordings of 41 and 30 samples, a tenth missing, and a longer gap."""
    path = tmp_path_factory.mktemp("recorded") / "data.h5"
    with h5py.File(path, "w") as file:
        for name, samples in (("one", 41), ("two", 30)):
            values = make_windows(5, seed=samples).reshape(-1, 3)[:samples]
            values[5:9, 1] = np.nan
            file[f"{name}/neural"] = values[:, :2]
            file[f"{name}/speed"] = values[:, 2]
            file[name].attrs["sampling_rate"] = 4.0
    return path


@pytest.fixture(scope="module")
def run(recorded, tmp_path_factory):
    """A run whose model is adapted, not trained."""
    splits = split_datasets(read_recordings(recorded), T, valid_fraction=0, gap=0)
    model = NeuroBehaviorVAE(tiny_config())
    model.adapt(splits.train.gather())
    folder = tmp_path_factory.mktemp("run")
    RunFolder.create(folder, model.config, {}, splits.manifest()).finish(model, {"refine": REFINE})
    return folder


@pytest.fixture(scope="module")
def model(run):
    return RunFolder(run).load_model()


@pytest.fixture(autouse=True)
def loaded_once(request, monkeypatch):
    """Each copy of a model would be compiled anew."""
    if "run" in request.fixturenames:
        model = request.getfixturevalue("model")
        monkeypatch.setattr(RunFolder, "load_model", lambda _: model)


def read(path, name):
    with h5py.File(path) as file:
        return {key: item[()] for key, item in file[name].items()}


def test_reconstructions_are_the_mean_of_those_of_windows(run, model, recorded, tmp_path):
    out = tmp_path / "traces.h5"
    reconstruct_file(run, recorded, out, stride=7, batch_size=5, refine=0)
    recordings = read_recordings(recorded)
    starts = [[0, 7, 14, 21, 28, 29], [0, 7, 14, 18]]  # of 41 and 30 samples, windows of 12
    cuts = [r.values[s : s + T] for r, of in zip(recordings, starts, strict=True) for s in of]
    windows = iter(model.reconstruct(np.stack(cuts), batch_size=5))
    for recording, of in zip(recordings, starts, strict=True):
        total = weights = 0
        for start in of:
            place = ((start, len(recording.values) - T - start), (0, 0))
            total += np.pad(taper(T)[:, None] * next(windows), place)
            weights += np.pad(taper(T)[:, None], place)
        found = read(out, recording.name)
        assert set(found) == {"values", "deviation", "seam_error"}
        assert found["values"].dtype == "float32"
        np.testing.assert_allclose(found["values"], total / weights, rtol=1e-5)
    with h5py.File(out) as file:
        group = file["data/one"]
        names = ["neural/0", "neural/1", "speed"]
        assert group["values"].attrs["channel_names"].tolist() == names
        assert group.attrs["path"] == str(recorded)
        assert group.attrs["sampling_rate"] == 4


@pytest.mark.once
def test_reconstructions_have_an_uncertainty_and_seams(run, model, recorded, tmp_path):
    plain, drawn = tmp_path / "plain.h5", tmp_path / "drawn.h5"
    arguments = {"stride": T, "refine": 0, "overwrite": True}
    assert reconstruct_file(run, recorded, plain, num_samples=0, **arguments)["seams"] == 2
    found = reconstruct_file(run, recorded, drawn, num_samples=500, **arguments)
    assert "deviation" not in read(plain, "data/one")
    # Where there is one window, it is the posterior that is uncertain: the decoder is linear.
    one = read(drawn, "data/one")
    np.testing.assert_array_equal(one["values"], read(plain, "data/one")["values"])
    values = read_recordings(recorded)[0].values
    mu, logvar = model.encode(values[None, :T])
    origin, *steps = model.decode(np.concatenate([mu, mu + np.eye(2, dtype="float32")]))
    variance = np.tensordot(np.exp(logvar[0]), np.square(np.array(steps) - origin), axes=1)
    np.testing.assert_allclose(one["deviation"][:T], np.sqrt(variance), rtol=0.15)
    with h5py.File(drawn) as file:
        groups = [file["data/one"], file["data/two"]]
        seams, errors = np.transpose([[g.attrs["seams"], g.attrs["seam_error"]] for g in groups])
        assert seams.tolist() == [1, 1]  # the last window is flush with the end
        assert found["seam_error"] == pytest.approx(np.sqrt(np.square(errors).mean()))
        # Of 41 samples in windows from 0, 12, 24 and 29: in the middle of 29 to 35.
        before, after = model.reconstruct(np.stack([values[24:36], values[29:41]]))
        apart = np.abs(before[32 - 24] - after[32 - 29]) / np.nanstd(values, axis=0)
        np.testing.assert_allclose(groups[0]["seam_error"][()], apart, rtol=1e-3)


@pytest.fixture(scope="module")
def filled(run, model, recorded, tmp_path_factory):
    out = tmp_path_factory.mktemp("filled") / "filled.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "load_model", lambda _: model)
        impute_file(run, recorded, out, refine=0, num_samples=40)
    return out


def test_what_was_observed_stays_and_what_is_missing_is_filled_in(recorded, filled):
    for recording in read_recordings(recorded):
        found = read(filled, recording.name)
        observed = ~np.isnan(recording.values)
        assert 0 < (~observed).sum() < observed.size
        np.testing.assert_array_equal(found["observed"], observed)
        for name in ("values", "low", "high"):
            assert found[name].dtype == "float32"
            assert np.isfinite(found[name]).all()
            np.testing.assert_array_equal(found[name][observed], recording.values[observed])
        low, value, high = (found[name][~observed] for name in ("low", "values", "high"))
        assert (low < high).all()
        assert ((low < value) & (value < high)).mean() > 0.95


def test_the_file_can_be_read_and_encoded_again(run, recorded, filled, tmp_path):
    again = read_recordings(filled, "values")
    for before, after in zip(read_recordings(recorded), again, strict=True):
        assert after.name == f"filled/{before.name}"
        assert (after.channels, after.rate_hz) == (before.channels, 4)
        np.testing.assert_array_equal(after.values, read(filled, before.name)["values"])
    report = inspect_file(filled)
    assert report["layout"] == "traces"
    assert [block["name"] for r in report["recordings"] for block in r["blocks"]] == ["values"] * 2
    encode_file(run, filled, tmp_path / "latents.h5", refine=0)
    assert read(tmp_path / "latents.h5", "filled/data/two")["mu"].shape == (30 - T + 1, 2)


class Told:
    """A model that knows nothing, and notes the steps of refinement it is asked for."""

    def __init__(self):
        self.steps = []

    config = tiny_config()

    def encode(self, x, batch_size, refine):
        self.steps.append(refine)
        return Posterior(np.zeros((len(x), 2)), np.zeros((len(x), 2)))

    def decode(self, z, batch_size):
        return np.zeros((len(z), T, 3))

    def imputations(self, x, num_samples, refine, seed):
        self.steps.append(refine)
        return np.nan_to_num(x)[None]


def test_recordings_that_were_filled_up_keep_their_length(run, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "load_model", lambda _: Told())
    monkeypatch.setattr("ceneurovae.traces.MOST_NAMES", 2)  # so that they become a dataset
    padded = shutil.copytree(run, tmp_path / "padded")
    manifest = json.loads((padded / "split.json").read_text())
    manifest["recordings"][0]["filled_up"] = True
    (padded / "split.json").write_text(json.dumps(manifest))
    values = make_windows(4).reshape(-1, 3)[:40]
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file.attrs["layout"] = "traces"
        file["a/values"] = values
        file["a/values"].attrs["channel_names"] = ["neural/0", "neural/1", "speed"]
        file["a/breaks"] = [7, 27]  # 7, 20 and 13 samples
    for folder, missing in ((run, 7), (padded, 0)):
        impute_file(folder, tmp_path / "short.h5", tmp_path / "out.h5", overwrite=True)
        found = read(tmp_path / "out.h5", "short/a")
        observed = ~np.isnan(values)
        np.testing.assert_array_equal(found["values"][observed], values[observed])
        assert found["breaks"].tolist() == [7, 27]
        assert np.isfinite(found["values"][missing:]).all()
        assert np.isnan(found["values"]).sum() == np.isnan(values[:missing]).sum()
    (again,) = read_recordings(tmp_path / "out.h5")
    assert again.breaks.tolist() == [7, 27]
    assert again.channels == ("neural/0", "neural/1", "speed")


def test_refinement_is_what_is_asked_for_or_what_was_chosen(run, recorded, tmp_path, monkeypatch):
    def steps(function, folder, **settings):
        told = Told()
        monkeypatch.setattr(RunFolder, "load_model", lambda _: told)
        function(folder, recorded, tmp_path / "out.h5", overwrite=True, **settings)
        assert len(set(told.steps)) == 1
        return told.steps[0]

    unchosen = shutil.copytree(run, tmp_path / "unchosen")
    (unchosen / "choices.json").write_text("null")
    for function in (encode_file, reconstruct_file):
        assert steps(function, run) == REFINE
        assert steps(function, run, refine=3) == 3
        assert steps(function, unchosen) == 0
        (unchosen / "choices.json").unlink(missing_ok=True)
    # What the decoder leaves out was learned about refined latents.
    assert steps(impute_file, unchosen) == REFINE
    assert steps(impute_file, unchosen, refine=0) == 0


def test_evaluation_takes_the_steps_of_its_refined_column(run, monkeypatch):
    def evaluate(*arguments, refine, imputation, **settings):
        assert imputation
        return sound_evaluation(refine=refine)

    monkeypatch.setattr("ceneurovae.evaluation.evaluate", evaluate)
    assert evaluate_run(run).refine == REFINE
    assert evaluate_run(run, refine=2).refine == RunFolder(run).read_metrics()["refine"] == 2


def test_bad_arguments(run, recorded, tmp_path):
    out = tmp_path / "out.h5"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match="exists. Choose another file or pass --overwrite"):
        impute_file(run, recorded, out)
    for settings, message in (
        ({"refine": -1}, "refine is -1, expected a whole number of at least 0"),
        ({"stride": 13}, "stride is 13, expected a whole number from 1 to 12"),
    ):
        for function in (impute_file, reconstruct_file):
            with pytest.raises(ValueError, match=message):
                function(run, recorded, out, overwrite=True, **settings)
    with pytest.raises(ValueError, match="refine is 1.5, expected a whole number of at least 0"):
        encode_file(run, recorded, out, overwrite=True, refine=1.5)
    with pytest.raises(ValueError, match="num_samples is 0, expected a whole number of at least 1"):
        impute_file(run, recorded, out, overwrite=True, num_samples=0)
    with h5py.File(tmp_path / "narrow.h5", "w") as file:
        file["one/neural"] = np.zeros((40, 2))
    with pytest.raises(ValueError, match="has no channel 'speed'"):
        impute_file(run, tmp_path / "narrow.h5", out, overwrite=True)
    assert out.read_text() == "mine"
