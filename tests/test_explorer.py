"""The explorer of latents, in a headless Chromium: the decoder there is the decoder here."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config

from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.vae import Posterior
from ceneurovae.report.decoder_program import UnknownLayerError, describe_decoder
from ceneurovae.report.explorer import REACH, explorer_section

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the page is the same on any backend"
)

HOSTILE = "</script><script>alert(1)</script>"
CHANNELS = ["speed", HOSTILE, "neural/AVA"]
LATENTS = 5
# Of WebDriver.
LEFT, RIGHT, END, ENTER = "\ue012", "\ue014", "\ue010", "\ue007"
REQUEST = "Network.requestWillBeSent"
PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>explorer</title>{}</html>"


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a section in a page; all that the page said or asked for is looked at afterwards."""

    def open_section(section):
        path = tmp_path / "page.html"
        path.write_text(PAGE.format(section), encoding="utf-8")
        browser.get(path.as_uri())
        browser.execute_async_script("window.ceneurovae.ready.then(arguments[0])")
        return browser

    yield open_section
    assert browser.get_log("browser") == []
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == REQUEST]
    assert [url for url in requests if not url.endswith("page.html")] == []


def make_model(**fields):
    """A model whose network has random weights, and windows that it was adapted to."""
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(**{"latent_dim": LATENTS, **fields}))
    x = make_windows(40)
    if fields.get("reconstruction_loss") == "poisson":
        x = np.rint(np.abs(x) / [1.0, 100.0, 0.01])
    if fields.get("reconstruction_loss") == "bernoulli":
        x = np.where(np.isnan(x), x, x > np.nanmedian(x, axis=(0, 1)))
    x = x.astype("float32")
    model.adapt(x)
    rng = np.random.default_rng(1)
    for weight in model.decoder.network.trainable_weights:
        spread = np.sqrt(1.0 / max(weight.shape[0], 1)) if len(weight.shape) > 1 else 0.3
        weight.assign(np.float32(weight.name == "gamma") + rng.normal(0, spread, weight.shape))
    return model, x


@pytest.fixture(scope="module")
def explored():
    """A model, the posterior of windows and those; latents 3 and 4 are the same in all windows."""
    model, x = make_model(hidden_dim=24)
    mu, logvar = model.encode(x)
    mu[:, 3:], logvar[:, 3:] = 0.0, 0.0
    return model, Posterior(mu, logvar), x


def section_of(explored, **arguments):
    model, posterior, x = explored
    return explorer_section(model, posterior, CHANNELS, 4.0, x, **arguments)


def in_browser(browser, z):
    """Windows that the page decodes, `(N, T * C)`."""
    script = "return arguments[0].map((z) => [...window.ceneurovae.decode(Float32Array.from(z))])"
    return np.array(browser.execute_script(script, z.tolist()))


def assert_same(found, expected):
    """Within 1e-4 of the standard deviation of each channel."""
    spread = expected.std(axis=(0, 1))
    assert (spread > 0).all()
    np.testing.assert_allclose(
        found.reshape(expected.shape) / spread, expected / spread, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"latent_dim": 200, "num_layers": 1},  # more latents than components
        {"backbone": "conv"},
        {"backbone": "gru"},
        {"backbone": "lstm"},
        {"backbone": "transformer"},
        {"backbone": "transformer", "positional_encoding": "learned", "num_heads": 4},
        {"backbone": "linear", "scale": "none"},
        {"reconstruction_loss": "poisson"},
        {"reconstruction_loss": "bernoulli", "backbone": "conv"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "mlp",
)
def test_the_decoder_is_the_same_in_the_page(opened, fields):
    model, x = make_model(**fields)
    page = opened(explorer_section(model, model.encode(x), CHANNELS))
    z = np.random.default_rng(2).normal(0, 1.5, (20, model.config.latent_dim)).astype("float32")
    assert_same(in_browser(page, z), model.decode(z))


FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"


def load(page, index):
    """Loads a window as the scatter does."""
    event = f"new CustomEvent('ceneurovae:window', {{detail: {{index: {index}}}}})"
    page.execute_async_script(f"document.dispatchEvent({event}); {FRAMES}")


def sliders(page):
    """Latent -> its slider."""
    inputs = page.find_elements("css selector", ".explorer input[type=range]")
    return {int(slider.get_attribute("id").split("-")[-1]): slider for slider in inputs}


def press(page, posterior, latent, key, times=1):
    """Presses a key on the slider of a latent; returns the latent that it then stands for."""
    slider = sliders(page)[latent]
    slider.send_keys(key * times)
    page.execute_async_script(FRAMES)
    mu, logvar = (part[:, latent] for part in posterior)
    spread = np.sqrt(mu.var() + np.exp(logvar).mean())
    share = float(slider.get_property("value")) / float(slider.get_property("max"))
    return mu.mean() + REACH * spread * share


def traces(page, kind="reconstruction"):
    """What is drawn, `(T, n)` for the channels on show, NaN where the line is interrupted."""
    columns = []
    for figure in page.find_elements("class name", "explorer-panel"):
        low, high = (float(figure.get_attribute(f"data-{name}")) for name in ("low", "high"))
        path = figure.find_element("class name", kind).get_attribute("d")
        points = np.array(re.findall(r"([-.0-9]+) ([-.0-9]+)", path), "float64").reshape(-1, 2)
        column = np.full(12, np.nan)
        column[np.rint(points[:, 0] / 1000 * 12 - 0.5).astype(int)] = points[:, 1]
        columns.append(high - column * (high - low) / 100)
    return np.stack(columns, axis=1)


def assert_drawn(found, expected, share=3e-4):
    """Within a share of what each channel spans over all that is asked about."""
    spans = np.nanmax(expected, axis=0) - np.nanmin(expected, axis=0)
    np.testing.assert_allclose(found / spans, expected / spans, rtol=0, atol=share)


def test_a_slider_moves_the_trace(opened, explored):
    model, posterior, _ = explored
    page = opened(section_of(explored))
    assert set(sliders(page)) == {0, 1, 2}  # of the active latents
    z = posterior.mu.mean(axis=0)
    start = traces(page)
    assert_drawn(start, model.decode(z[None])[0])
    for latent, key, times in ((1, RIGHT, 40), (0, LEFT, 25), (2, END, 1)):
        z[latent] = press(page, posterior, latent, key, times)
        assert_drawn(traces(page), model.decode(z[None])[0])
    assert sliders(page)[0].get_property("value") == "-25"
    page.find_element("css selector", ".explorer button").click()
    page.execute_async_script(FRAMES)
    np.testing.assert_array_equal(traces(page), start)


def test_a_window_is_loaded_with_all_its_latents(opened, explored, monkeypatch):
    monkeypatch.setattr("ceneurovae.report.explorer.MOST_SLIDERS", 1)
    model, posterior, x = explored
    mu = posterior.mu
    page = opened(section_of(explored, names=[f"worm {n}" for n in range(len(x))]))
    (latent,) = sliders(page)
    for index in (7, 0, 39):
        load(page, index)
        assert_drawn(traces(page), model.decode(mu[index : index + 1])[0])
        assert_drawn(traces(page, "observed"), x[index], share=0.02)
        assert f"worm {index}" in page.find_element("class name", "explorer-status").text
        shown = page.find_element("css selector", "output").text
        assert float(shown) == pytest.approx(mu[index, latent], abs=0.006)
    z = mu[39].copy()
    z[latent] = press(page, posterior, latent, LEFT, 3)
    assert_drawn(traces(page), model.decode(z[None])[0])
    status = page.find_element("class name", "explorer-status").text
    assert status == "decoded, worm 39, latents movedobserved"
    load(page, 40)  # there is none
    assert_drawn(traces(page), model.decode(z[None])[0])
    number = page.find_element("css selector", ".explorer input[type=number]")
    number.clear()
    number.send_keys("8", ENTER)
    page.execute_async_script(FRAMES)
    assert_drawn(traces(page), model.decode(mu[7:8])[0])


def test_names_are_text(opened, explored):
    page = opened(section_of(explored, names=[HOSTILE] * 40))
    load(page, 3)
    captions = page.find_elements("css selector", ".explorer figcaption")
    assert [caption.text for caption in captions] == CHANNELS
    assert HOSTILE in page.find_element("class name", "explorer-status").text
    assert len(page.find_elements("tag name", "script")) == 2


def test_a_grid_takes_the_place_of_large_weights(opened, explored):
    model, posterior, x = explored
    mu = posterior.mu
    page = opened(section_of(explored, budget=7000))
    text = page.find_element("class name", "explorer").text
    assert "is too large for the page. In its place is a grid of one latent at a time" in text
    assert page.execute_script("return window.ceneurovae.decode") is None
    mean = mu.mean(axis=0)
    assert_drawn(traces(page), model.decode(mean[None])[0], share=0.02)
    load(page, 5)
    assert_drawn(traces(page), model.decode(mu[5:6])[0], share=0.02)
    assert_drawn(traces(page, "observed"), x[5], share=0.02)
    press(page, posterior, 0, END)
    mean[2] = press(page, posterior, 2, LEFT, 3)  # the first slider is back at the mean
    assert_drawn(traces(page), model.decode(mean[None])[0], share=0.02)


def test_windows_of_the_channels_that_fit(opened, explored):
    page = opened(section_of(explored, budget=5000))
    assert "Windows of 2 of the 3 channels fit into the page." in page.page_source
    assert len(page.find_elements("css selector", ".explorer figcaption")) == 2
    section = section_of(explored, budget=1000)
    assert (
        "too large for the page. Nor is there room for the windows" in section
        and "<script" not in section
    )


def test_a_decoder_of_other_layers_gets_a_grid(explored):
    model, x = make_model()
    model.likelihood.__class__ = type("OtherLikelihood", (type(model.likelihood),), {})
    with pytest.raises(UnknownLayerError, match="no operation for OtherLikelihood 'likelihood'"):
        describe_decoder(model)
    section = explorer_section(model, model.encode(x), CHANNELS)
    assert "has layers that the page cannot evaluate. In its place is a grid" in section


def test_a_diverged_decoder_is_told():
    model, x = make_model()
    posterior = model.encode(x)
    model.decoder.network.readout.bias.assign(np.full(36, np.nan))
    section = explorer_section(model, posterior, CHANNELS)
    assert "not finite: there is nothing to explore" in section and "<script" not in section


def test_channels_are_picked(opened):
    model = NeuroBehaviorVAE(tiny_config(channels=14))
    x = np.random.default_rng(0).normal(size=(20, 12, 14)).cumsum(axis=1).astype("float32")
    model.adapt(x)
    page = opened(explorer_section(model, model.encode(x), [f"n{i}" for i in range(14)]))
    assert len(page.find_elements("class name", "explorer-panel")) == 12
    page.find_element("css selector", ".explorer summary").click()
    boxes = page.find_elements("css selector", ".explorer [type=checkbox]")
    boxes[0].click()
    for box in boxes:
        if box.is_selected() and box != boxes[13]:
            box.click()
    if not boxes[13].is_selected():
        boxes[13].click()
    captions = page.find_elements("css selector", ".explorer figcaption")
    assert [caption.text for caption in captions] == ["n13"]
    load(page, 4)
    assert_drawn(traces(page), model.decode(model.encode(x[4:5]).mu)[0, :, 13:])


def test_what_does_not_fit_is_refused(explored):
    model, posterior, x = explored
    with pytest.raises(ValueError, match=r"observed has shape \(39, 12, 3\), expected \(40, 12, 3"):
        explorer_section(model, posterior, CHANNELS, observed=x[:-1])
    with pytest.raises(ValueError, match="Received 2 channels, expected 3. Give one for each"):
        explorer_section(model, posterior, CHANNELS[:2])
    with pytest.raises(ValueError, match="Received 1 names, expected 40"):
        explorer_section(model, posterior, CHANNELS, names=["one"])
    with pytest.raises(ValueError, match="no window to explore"):
        explorer_section(model, [part[:0] for part in posterior], CHANNELS)
