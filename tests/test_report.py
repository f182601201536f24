"""The report: what it gathers, its figures, and the page as a browser shows it."""

import json
import re
import shutil
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ET

import h5py
import keras
import numpy as np
import pytest
from conftest import tiny_config

from ceneurovae import cli, report
from ceneurovae.import_data import load_splits
from ceneurovae.report.data import current_metrics
from ceneurovae.report.figure_files import available_figures
from ceneurovae.report.figures import ramp_spans
from ceneurovae.report.interactive import scatter_data
from ceneurovae.report.page import write_report
from ceneurovae.report.shown_windows import squares
from ceneurovae.report.style import shortened
from ceneurovae.results import VERSION
from ceneurovae.run_folder import RunFolder
from ceneurovae.runs import train_run
from ceneurovae.scores import Score

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on any backend, fastest on PyTorch"
)

EVIL = "<script>alert(1)</script>"
NEURONS = (EVIL, "<b>bold</b>", "$x^2$", "_AVA")
RATE_HZ = 2.0
# In the order in which they are asked for.
SECTIONS = (
    *("verdict", "data", "learning", "reconstructions", "channels", "latents", "trajectories"),
    *("scatter", "explorer", "null", "decoding", "environment"),
)


def write_recordings(path):
    """Two recordings with missing values, names that are markup, and labels."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["sampling_rate"] = RATE_HZ
        for name, samples in (("first & <i>", 150), ("second", 120)):
            phase = np.cumsum(rng.uniform(0.1, 0.3, samples))
            neural = np.sin(phase[:, None] + np.arange(4)) + 0.2 * rng.normal(size=(samples, 4))
            neural[rng.random(neural.shape) < 0.1] = np.nan
            behavior = np.stack([np.cos(phase), phase], axis=1)
            file[f"{name}/neural"] = neural.astype("float32")
            file[f"{name}/neural"].attrs["channel_names"] = list(NEURONS)
            file[f"{name}/behavior"] = behavior.astype("float32")
            file[f"{name}/behavior"].attrs["channel_names"] = ["velocity", EVIL]
    return path


def scores(r2, channels):
    """A part of `metrics.json`; the last channel has no R2."""
    found = [{"name": name, "r2": r2, "mse": 0.5, "missing": 0.1} for name in channels]
    found[-1] |= {"r2": None, "mse": None, "missing": 1.0}
    return {"r2": r2, "skill": r2, "mse": 0.5, "huber": 0.3, "per_channel": found}


def metrics_document(channels):
    """A `metrics.json` with everything that may be in it."""
    part = scores(0.4, channels) | {
        "seen_in_training": False,
        "num_windows": 20,
        "elbo": -50.0,
        "kl": 3.0,
        "kl_per_latent": [1.0, 2.0],
        "iwae": -49.0,
        "iwae_samples": 16,
        "active_units": 2,
        "bits_per_sample": 1.2,
    }
    return {
        "split": "test",
        "channels": list(channels),
        "refine": 10,
        "version": VERSION,
        "test": part
        | {
            "refined": scores(0.5, channels),
            "imputation": {"entries": {"vae": 0.3, "mean": 0.0, "coverage": None}},
        },
        "validation": part | {"seen_in_training": True},
        "train": part | {"seen_in_training": True},
        "baselines": {
            "pca": scores(0.3, channels),
            "ppca": scores(0.3, channels) | {"elbo": -60.0},
            "mean": scores(-0.1, channels),
        },
        "verdict": [{"code": "drift", "sentence": f"Channel {EVIL} has drifted."}],
    }


def spread(mean):
    return {"mean": mean, "std": 0.1, "folds": [mean - 0.1, mean + 0.1]}


CONTROLS = {
    "null": {
        "refits": 2,
        "real": {"r2": 0.4, "skill": 0.5},
        "shifted": [{"seed": n, "r2": 0.1 * n, "skill": None} for n in range(2)],
        "time_shuffled": {"r2": -0.1, "skill": 0.0},
        "gap": {"r2": {"mean": 0.3, "std": 0.05}, "skill": {"mean": None, "std": None}},
    },
    "decoding": {
        "labels": [
            {"name": EVIL, "kind": kind, "metric": metric, "samples": 30, "in_model": True}
            | {method: spread(0.5) for method in ("latents", "pca", "channels", "null")}
            for kind, metric in (("regression", "r2"), ("classification", "balanced_accuracy"))
        ]
    },
    "seeds": {"seeds": [0, 1], "pairs": [{"from": 0, "to": 1, "r2": 0.9}], "mean": 0.9, "std": 0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run, its splits, and results of every kind."""
    folder = tmp_path_factory.mktemp("report")
    file = write_recordings(folder / "worms.h5")
    channels = ["neural", "behavior/velocity"]
    splits = load_splits(file, channels, seq_len=12, test_fraction=0.25)
    train_run(
        splits, tiny_config(), folder / "run", epochs=4, warmup_epochs=2, refit=False, verbose=0
    )
    metrics = metrics_document(splits.train.channels)
    for name, content in {"metrics": metrics, **CONTROLS}.items():
        (folder / "run" / f"{name}.json").write_text(json.dumps(content))
    return folder / "run", splits


@pytest.fixture(scope="module")
def data(run):
    return report.gather(run[0], splits=run[1])


@pytest.fixture(scope="module")
def written(run):
    """The page and the figures that the command writes."""
    page, figures = run[0] / "report.html", run[0] / "figures"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("KERAS_BACKEND", keras.backend.backend())
        patch.setattr(sys, "argv", ["ceneurovae", "report", str(run[0]), "--figures", str(figures)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert not caught.value.code
    return page, figures


def test_windows_are_scored_as_the_evaluation_scores_them(run, data):
    model, windows = RunFolder(run[0]).load_model(), run[1].test
    x = windows.gather()
    target = model.scaler.as_numpy(x)
    reconstruction = model.scaler.as_numpy(model.reconstruct(x))
    whole = Score()
    whole.add(target, reconstruction)
    error, deviation = squares(target, reconstruction)
    assert 1 - error.sum() / deviation.sum() == pytest.approx(whole.result().r2, abs=1e-5)
    each = 1 - error.sum(axis=1) / deviation.sum(axis=1)
    np.testing.assert_allclose(data.windows.r2, each, atol=1e-3)
    np.testing.assert_array_equal(data.windows.observed, x)
    found = {example.title: example.r2 for example in data.windows.examples}
    assert found["best"] == max(data.windows.r2)
    assert found["worst"] == min(data.windows.r2)
    assert found["worst"] < found["median"] < found["best"]


def test_examples_show_what_was_recorded_within_intervals(run, data):
    model, test = RunFolder(run[0]).load_model(), run[1].test
    names = [recording.name for recording in test.recordings]
    for example in data.windows.examples:
        recording = test.recordings[names.index(example.recording)]
        x = recording.values[example.start : example.start + test.seq_len]
        shown = model.scaler.as_numpy(x)[:, data.windows.channels]
        np.testing.assert_allclose(example.target, shown, rtol=1e-6)
        assert (example.low < example.reconstruction).all()
        assert (example.reconstruction < example.high).all()
        # Between the quantiles are 3.29 standard deviations, of the noise at the least.
        noise = np.exp(0.5 * np.asarray(model.likelihood.logvar.detach()))[data.windows.channels]
        assert ((example.high - example.low).mean(axis=0) > 3.0 * noise).all()


def test_the_time_line_is_that_of_the_splits(run, data):
    for index, (recording, timeline) in enumerate(
        zip(run[1].train.recordings, data.recordings, strict=True)
    ):
        spans = {part: (first, last) for part, first, last in timeline.spans}
        for part, windows in run[1]._asdict().items():
            assert [spans[part]] == [tuple(span) for span in windows.covered(index).tolist()]
            assert timeline.windows[part] == np.count_nonzero(windows.recording == index)
        assert timeline.missing == pytest.approx(np.isnan(recording.values).mean())


def test_points_are_coloured_by_the_middle_of_their_windows(run, data):
    colours = {colouring.name: colouring for colouring in data.colourings}
    assert set(colours) >= {"time (s)", "behavior/velocity", f"behavior/{EVIL}", "recording"}
    windows = data.windows
    file = run[0].parent / "worms.h5"
    with h5py.File(file) as source:
        truth = [
            source[windows.names[recording].split("/", 1)[-1]]["behavior"][middle]
            for recording, middle in zip(windows.recording, windows.middle, strict=True)
        ]
    known = np.stack([colours[f"behavior/{name}"].values for name in ("velocity", EVIL)], axis=1)
    np.testing.assert_allclose(known, truth, rtol=1e-6)
    np.testing.assert_allclose(colours["time (s)"].values * RATE_HZ, windows.start + 6)
    recordings = colours["recording"]
    assert [recordings.categories[int(n)] for n in recordings.values] == [
        windows.names[n] for n in windows.recording
    ]


def test_a_trajectory_is_the_posterior_of_its_windows(run, data):
    model, trajectory = RunFolder(run[0]).load_model(), data.trajectory
    values = run[1].test.recordings[trajectory.recording].values
    x = np.stack([values[middle - 6 : middle + 6] for middle in trajectory.middle])
    np.testing.assert_allclose(trajectory.mu, model.encode(x).mu, atol=1e-5)
    assert trajectory.middle[0] == 6 and trajectory.middle[-1] == len(values) - 6


def test_the_ramp_is_where_the_kl_weight_is_below_its_last_value(data):
    rows = [{"epoch": n, "kl_weight": weight} for n, weight in enumerate((0, 0.5, 1, 0, 1, 1))]
    assert ramp_spans(rows) == [(1, 2), (4, 4)]
    assert ramp_spans([{"epoch": 0}]) == []
    assert ramp_spans(data.history) == [(1, 2)]


def test_long_names_keep_their_end():
    assert shortened("short") == "short"
    for name in ("a/b/" + "c" * 20, "d" * 60, "e" * 30 + "/f"):
        short = shortened(name, 24)
        assert len(short) <= 24
        assert name.endswith(short.lstrip("…/"))


def test_every_figure_says_what_its_axes_are(data):
    drawn = available_figures(data)
    assert len(drawn) == 9  # two latents make no third dimension
    for name, draw in drawn.items():
        figure = draw()
        axes = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
        assert axes
        for ax in axes:
            place = ax.get_subplotspec()
            if place.is_last_row():
                assert ax.get_xlabel(), name
            if place.is_first_col():
                assert ax.get_ylabel() or figure.get_supylabel(), name
    assert "nats" in report.plot_latents(data).axes[0].get_ylabel()
    assert "(s)" in report.plot_timeline(data).axes[0].get_xlabel()
    assert "z-scored" in report.plot_reconstructions(data).get_supylabel()


def test_the_scatter_has_the_colour_that_is_asked_for(data):
    figure = report.plot_scatter(data, colour="recording")
    points = [len(collection.get_offsets()) for collection in figure.axes[0].collections]
    assert sum(points) == len(data.windows.mu) and len(points) == 2
    with pytest.raises(ValueError, match=r"The colour is 'nothing', expected one of time \(s\)"):
        report.plot_scatter(data, colour="nothing")
    with pytest.raises(ValueError, match="3 dimensions and latents .* of a model with 2"):
        report.plot_scatter(data, dimensions=3)


def test_figures_are_written_for_print(written, data):
    pages = {path.name for path in written[1].iterdir()}
    assert pages == {f"{name}.{end}" for name in available_figures(data) for end in ("svg", "png")}
    for path in written[1].glob("*.svg"):
        ET.parse(path)
    timeline = (written[1] / "timeline.png").read_bytes()
    assert int.from_bytes(timeline[16:20], "big") == 7.2 * 300
    text = " ".join(ET.parse(written[1] / "reconstructions.svg").getroot().itertext())
    assert "neural/<b>bold</b>" in text and "neural/$x^2$" in text and "neural/_AVA" in text


def test_what_was_not_run_is_not_shown(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    for name in CONTROLS:
        (tmp_path / "run" / f"{name}.json").unlink()
    page = write_report(tmp_path / "run", tmp_path / "page.html", splits=run[1])
    text = page.read_text()
    found = re.findall(r'<section [^>]*id="(\w+)"', text)
    assert found == [name for name in SECTIONS if name not in ("null", "decoding")]
    assert 'href="#null"' not in text
    bare = report.gather(tmp_path / "run", splits=run[1])
    with pytest.raises(ValueError, match="has no null.json"):
        report.plot_null_control(bare)
    with pytest.raises(ValueError, match="has no decoding.json"):
        report.plot_decoding(bare)


def test_a_folder_is_no_file_to_write(run, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder, expected the name of a file"):
        report.write_report(run[0], tmp_path)


@pytest.mark.parametrize("before", [None, {"vae": {"r2": 0.5}}])
def test_a_run_is_evaluated_where_its_scores_are_missing_or_old(run, tmp_path, before):
    shutil.copytree(run[0], tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.json"
    metrics.unlink() if before is None else metrics.write_text(json.dumps(before))
    found = current_metrics(RunFolder(tmp_path / "run"), run[1])
    assert found["split"] == "test"
    assert json.loads(metrics.read_text()) == found
    assert found["channels"] == list(run[1].train.channels)


def test_missing_extras_are_named(run, monkeypatch):
    for module, name in (("plotly.offline", "plotly"), ("jinja2", "jinja2")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=rf"{name} .* pip install 'ceneurovae\[report\]'"):
                write_report(run[0])
    # As for who asks for the report first: in a process that has imported nothing of it.
    code = (
        "import sys; sys.modules['matplotlib'] = None; from ceneurovae.report import write_report"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "ImportError: matplotlib is not installed: pip install 'ceneurovae[report]'."
    assert done.stderr.splitlines()[-1] == expected


@pytest.fixture(scope="module")
def browser(written):
    """Chromium with the page open, once its plots are drawn."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1200,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        driver.get(written[0].as_uri())
        wait_for_page(driver)
        yield driver
    finally:
        driver.quit()


def wait_for_page(browser):
    deadline = time.monotonic() + 60
    while browser.execute_script("return document.documentElement.dataset.ready") != "true":
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.1)


def test_the_page_asks_nothing_of_the_network_and_has_no_error(browser, written):
    browser.get(written[0].as_uri())
    wait_for_page(browser)
    requests = {
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    }
    # An image within the page, as plotly 6 has, is logged too.
    assert {url for url in requests if not url.startswith("data:")} == {written[0].as_uri()}
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_the_page_is_small_and_in_order(browser, written):
    assert written[0].stat().st_size < 5_000_000  # and 3 MB for the explorer
    found = browser.execute_script(
        "return [...document.querySelectorAll('section')].map(s => s.id)"
    )
    assert tuple(found) == SECTIONS
    links = browser.execute_script(
        "return [...document.querySelectorAll('nav a')].map(a => a.hash)"
    )
    assert links == [f"#{name}" for name in SECTIONS]
    unlabelled = browser.execute_script(
        "return [...document.querySelectorAll('section:not(#explorer) figure')]"
        ".filter(f => !f.querySelector('[aria-label]')"
        " || f.querySelector('figcaption').textContent.length < 80).map(f => f.id)"
    )
    assert unlabelled == []
    assert browser.execute_script("return document.querySelectorAll('.main-svg').length") >= 3


def test_the_page_says_which_windows_were_trained_on(written):
    text = written[0].read_text()
    assert re.findall(r'"row">VAE on ([^<]*)<', text) == [
        "validation data, trained on",
        "training data",
    ]


def test_names_are_shown_as_text(browser):
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#channels tbody th')].map(th => th.textContent)"
    )
    assert f"neural/{EVIL}" in rows and "neural/<b>bold</b>" in rows
    verdict = browser.execute_script("return document.querySelector('.verdict').textContent")
    assert f"Channel {EVIL} has drifted." in verdict
    colours = browser.execute_script(
        "return [...document.getElementById('scatter-controls').elements.colour.options]"
        ".map(option => option.text)"
    )
    assert f"behavior/{EVIL}" in colours
    scripts = browser.execute_script(
        "return [...document.scripts].filter(s => s.textContent.trim() === 'alert(1)').length"
    )
    assert scripts == 0
    assert (
        browser.execute_script("return document.querySelectorAll('svg b, th b, li b').length") == 0
    )


def test_a_click_on_a_point_tells_its_window(browser, data):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser.execute_script(
        "document.getElementById('scatter').scrollIntoView({behavior: 'instant'});"
        "window.chosen = []; document.addEventListener('ceneurovae:window',"
        " event => window.chosen.push(event.detail.index))"
    )
    points = browser.find_elements(By.CSS_SELECTOR, "#plot-scatter .point")
    assert len(points) == len(data.windows.mu)
    place = points[3].rect
    ActionChains(browser).move_to_element(points[3]).pause(0.3).click().perform()
    deadline = time.monotonic() + 10
    while not browser.execute_script("return window.chosen.length"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    index = browser.execute_script("return window.chosen[0]")
    # Another point may be on top of it: what counts is where the window is.
    latents = scatter_data(data)["latents"]
    near = np.hypot(*(latent["values"][index] - np.array(latent["values"]) for latent in latents))
    rects = [point.rect for point in points]
    apart = [np.hypot(rect["x"] - place["x"], rect["y"] - place["y"]) for rect in rects]
    assert near[3] <= sorted(near)[np.count_nonzero(np.array(apart) < 8)]


def test_light_dark_and_a_phone(browser):
    def look(scheme, width):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.5)
        return browser.execute_script(
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('#plot-channels .xtick text')).fill,"
            " getComputedStyle(document.querySelector('.picture text')).fill,"
            " document.documentElement.scrollWidth]"
        )

    light, dark, phone = look("light", 1200), look("dark", 1200), look("dark", 390)
    for before, after in zip(light[:3], dark[:3], strict=True):
        assert (brightness(before) < 128) != (brightness(after) < 128)
    assert brightness(light[0]) > 128 > brightness(light[1])
    assert phone[3] <= 390


def brightness(colour):
    return np.mean([int(part) for part in re.findall(r"\d+", colour)[:3]])
