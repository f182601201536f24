"""The explorer of latents, in a headless Chromium: the decoder there is the decoder here."""

import json
import re
import shutil

import hypothesis  # noqa: F401  before conftest freezes trio, which selenium brings
import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config

from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.vae import Posterior
from ceneurovae.report.decoder_program import UnknownLayerError, describe_decoder
from ceneurovae.report.explorer import GRID_VALUES, REACH, explorer_section

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the page is the same on any backend"
)

HOSTILE = "</script><script>alert(1)</script>"
CHANNELS = ["speed", HOSTILE, "neural/AVA"]
LATENTS = 5
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


REQUEST = "Network.requestWillBeSent"


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
    model, x = make_model(hidden_dim=12)
    posterior = model.encode(x)
    # A latent that says nothing, and one without a slider that differs between windows.
    mu, logvar = (part.copy() for part in posterior)
    mu[:, 3], logvar[:, 3] = 0.0, 0.0
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
