"""The model: what goes in and comes out, its objective, and what missing data does."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_windows, tiny_config
from keras import ops

from ceneurovae import VAE, NeuroBehaviorVAE, VAEConfig

BACKBONES = ("mlp", "conv", "transformer")
KERAS_BACKENDS = ("tensorflow", "jax", "torch")


def adapted_model(x, seed=0, **fields):
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(tiny_config(**fields))
    model.adapt(x)
    return model


def weights_of(model):
    return [w.copy() for w in model.get_weights()]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("training", [False, True])
def test_shapes(windows, backbone, training):
    model = adapted_model(windows, backbone=backbone)
    output = model(windows, training=training)
    recon, mu, logvar = output
    assert tuple(recon.shape) == windows.shape
    assert tuple(mu.shape) == tuple(logvar.shape) == (50, 2)
    assert output.reconstruction is recon and output.mu is mu and output.logvar is logvar
    assert all(np.isfinite(ops.convert_to_numpy(part)).all() for part in output)


def test_only_training_draws_from_the_posterior(windows):
    model = adapted_model(windows)
    still = [ops.convert_to_numpy(model(windows).reconstruction) for _ in range(2)]
    drawn = [ops.convert_to_numpy(model(windows, training=True)[0]) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert (drawn[0] != drawn[1]).any()


def test_reconstructions_are_in_raw_units(windows):
    model = adapted_model(windows)
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    model.fit(windows, epochs=40, verbose=0)
    recon = model.predict(windows, verbose=0).reconstruction
    error = np.nanstd(recon - windows, axis=(0, 1))
    assert (error < 0.5 * np.nanstd(windows, axis=(0, 1))).all()


def test_training_lowers_the_loss_from_that_of_the_linear_path(windows):
    model = adapted_model(windows)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    losses = model.fit(windows, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.5, 3.0])
def test_loss_is_reconstruction_plus_weighted_kl(windows, loss, kl_weight):
    model = adapted_model(windows, reconstruction_loss=loss)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.kl_weight.assign(kl_weight)
    # 50 windows in batches of 32: the last batch is smaller and must count for less.
    logs = model.fit(windows, validation_data=windows, verbose=0).history
    for prefix in ("", "val_"):
        total, reconstruction, kl, elbo = (
            logs[prefix + name][0] for name in ("loss", "reconstruction", "kl", "elbo")
        )
        assert total == pytest.approx(reconstruction + kl_weight * kl, rel=1e-5)
        assert elbo == pytest.approx(-(reconstruction + kl), rel=1e-5)
        assert kl > 0
    per_window = [ops.convert_to_numpy(part) for part in model.losses_of(windows, model(windows))]
    assert logs["val_reconstruction"][0] == pytest.approx(per_window[0].mean(), rel=1e-5)
    assert per_window[1].shape == (50, 2)
    assert logs["val_kl"][0] == pytest.approx(per_window[1].sum(axis=1).mean(), rel=1e-5)


def test_sample_weights_weigh_windows(windows):
    model = adapted_model(windows)
    model.compile(optimizer="adam")
    weight = np.zeros(50, "float32")
    weight[:10] = 5.0
    # Keras drops the weights of x alone, so a mask goes with them.
    data = {"x": windows, "y": ~np.isnan(windows), "sample_weight": weight}
    logs = model.evaluate(**data, return_dict=True, verbose=0)
    first = model.evaluate(windows[:10], return_dict=True, verbose=0)
    assert logs["elbo"] == pytest.approx(first["elbo"], rel=1e-5)


def test_missing_entries_change_neither_loss_nor_gradient(windows):
    mask = ~np.isnan(windows)
    results = []
    for fill in (0.0, 1e6, np.nan):
        model = adapted_model(windows)
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        x = np.where(mask, windows, np.float32(fill))
        loss = model.train_on_batch(x, mask, return_dict=True)["loss"]
        results.append([loss, *weights_of(model)])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
    assert np.isfinite(results[0][0])


def test_a_window_that_is_missing_throughout_costs_only_its_kl(windows):
    windows[3] = np.nan
    model = adapted_model(windows)
    reconstruction, kl = model.losses_of(windows, model(windows))
    assert ops.convert_to_numpy(reconstruction)[3] == 0
    assert np.isfinite(ops.convert_to_numpy(kl)).all()


def test_the_encoder_knows_what_is_missing(windows):
    model = adapted_model(windows)
    mean = ops.convert_to_numpy(model.scaler.mean)
    at_mean = np.where(np.isnan(windows), mean, windows)
    assert (model.encode(windows).mu != model.encode(at_mean).mu).any(axis=1).mean() > 0.9


def test_masks_are_taken_wherever_data_is(windows):
    mask = ~np.isnan(windows)
    filled = np.where(mask, windows, 7)
    pairs = tf.data.Dataset.from_tensor_slices((filled, mask)).batch(32)
    single = tf.data.Dataset.from_tensor_slices(windows).batch(32)
    model = adapted_model(windows)
    model.compile(optimizer="adam")
    expected = model.predict(windows, verbose=0)
    for data in ((filled, mask), pairs, single):
        for first, second in zip(model.encode(data), expected[1:], strict=True):
            np.testing.assert_allclose(first, second, atol=1e-6)
    for data in (pairs, single):
        np.testing.assert_allclose(model.predict(data, verbose=0).mu, expected.mu, atol=1e-6)
    called = ops.convert_to_numpy(model((filled, mask)).mu)
    np.testing.assert_allclose(called, expected.mu, atol=1e-6)
    scores = [
        model.evaluate(*data, verbose=0, return_dict=True)["elbo"]
        for data in ((windows,), (filled, mask), (pairs,), (single,))
    ]
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-5)
    with pytest.raises(ValueError, match=r"The mask has shape \(50, 12\), the values"):
        model((filled, mask[..., 0]))


def test_encode_decode_sample(windows):
    model = adapted_model(windows)
    recon, mu, logvar = model.predict(windows, verbose=0)
    posterior = model.encode(windows)
    np.testing.assert_allclose(posterior.mu, mu, atol=1e-6)
    np.testing.assert_allclose(posterior.logvar, logvar, atol=1e-6)
    np.testing.assert_allclose(model.decode(posterior.mu), recon, rtol=1e-5, atol=1e-4)
    samples = model.sample(7, seed=1)
    assert samples.shape == (7, 12, 3)
    np.testing.assert_array_equal(samples, model.sample(7, seed=1))
    assert (samples[0] != samples[1]).any()


def test_encode_follows_training(windows):
    model = adapted_model(windows)
    before = model.encode(windows).mu
    model.compile(optimizer="adam")
    model.fit(windows, verbose=0)
    after = model.encode(windows).mu
    assert (before != after).any()
    np.testing.assert_allclose(after, model.predict(windows, verbose=0).mu, atol=1e-6)


def test_channels_come_from_the_data(windows):
    model = VAE(VAEConfig(seq_len=12, hidden_dim=8, latent_dim=2))
    with pytest.raises(ValueError, match="does not know its channels yet. Set channels"):
        model.sample(1)
    assert tuple(model(windows).reconstruction.shape) == (50, 12, 3)


def test_wrong_shapes_are_explained(windows):
    model = NeuroBehaviorVAE(tiny_config())
    with pytest.raises(ValueError, match=r"shape \(50, 12, 2\), expected \(B, 12, 3\)"):
        model(windows[..., :2])
    with pytest.raises(ValueError, match=r"shape \(50, 12\), expected \(B, 12, 3\)"):
        model(windows[..., 0])
    with pytest.raises(ValueError, match="config is a dict, expected a VAEConfig"):
        NeuroBehaviorVAE({"seq_len": 12})


def perturbed_model(x, backbone):
    """A model all of whose weights are different from where they start, biases too."""
    model = adapted_model(x, backbone=backbone)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(scale=0.1, size=weight.shape))
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_reloaded_model_gives_identical_numbers(windows, backbone, tmp_path):
    model = perturbed_model(windows, backbone)
    model.kl_weight.assign(0.25)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for first, second in zip(model.predict(windows), again.predict(windows), strict=True):
        np.testing.assert_array_equal(first, second)
    assert again.config == model.config
    assert again.adapted
    assert float(again.kl_weight) == 0.25


def test_the_optimizer_is_saved_with_the_model(windows, tmp_path):
    model = adapted_model(windows)
    model.compile(optimizer="adam")
    model.fit(windows, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert int(ops.convert_to_numpy(again.optimizer.iterations)) == 2
    pairs = zip(model.optimizer.variables, again.optimizer.variables, strict=True)
    for first, second in pairs:
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (first, second)))
    assert np.isfinite(again.fit(windows, verbose=0).history["loss"]).all()


def test_saving_does_not_depend_on_what_was_called_before(windows, tmp_path):
    model = adapted_model(windows)
    model.encode(windows)
    model.sample(1)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").encode(windows).mu.shape == (50, 2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_raw_units_and_losses_in_float32(policy):
    if policy == "mixed_float16" and keras.backend.backend() == "torch":
        pytest.skip("float16 convolutions are slow and inexact on a CPU under PyTorch")
    x = make_windows(64) * 1e5  # far beyond the range of float16
    keras.utils.set_random_seed(0)
    model = NeuroBehaviorVAE(tiny_config(), dtype=policy)
    model.adapt(x)
    model.compile(optimizer="adam")
    logs = model.fit(x, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    output = model(x)
    assert keras.backend.standardize_dtype(output.reconstruction.dtype) == "float32"
    assert keras.backend.standardize_dtype(output.mu.dtype) == "float32"
    assert keras.backend.standardize_dtype(model.decoder(output.mu).dtype) == policy[6:]
    assert all(w.dtype == "float32" for w in model.trainable_weights)
    assert np.isfinite(ops.convert_to_numpy(output.reconstruction)).all()


def test_a_model_gives_the_same_numbers_on_another_backend(windows, tmp_path):
    # The next one in turn: run on all three, each is compared with both others.
    others = [*KERAS_BACKENDS, KERAS_BACKENDS[0]]
    other = others[others.index(keras.backend.backend()) + 1]
    pytest.importorskip(other)
    np.save(tmp_path / "x.npy", windows)
    model_paths = {name: tmp_path / f"{name}.keras" for name in BACKBONES}
    expected = {}
    for backbone, path in model_paths.items():
        model = perturbed_model(windows, backbone)
        model.compile(optimizer="adam")
        model.save(path)
        expected[backbone] = model.predict(windows, verbose=0)
    code = (
        "import sys, keras, numpy as np, ceneurovae.model\n"
        "x = np.load('x.npy')\n"
        f"for name in {BACKBONES}:\n"
        "    model = keras.saving.load_model(name + '.keras')\n"
        "    np.savez(name + '.npz', *model.predict(x, verbose=0))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": other}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    scale = ops.convert_to_numpy(model.scaler.std)
    for backbone in BACKBONES:
        with np.load(tmp_path / f"{backbone}.npz") as found:
            recon, mu, logvar = (found[name] for name in found.files)
        np.testing.assert_allclose(mu, expected[backbone].mu, atol=1e-5)
        np.testing.assert_allclose(logvar, expected[backbone].logvar, atol=1e-5)
        error = np.abs(recon - expected[backbone].reconstruction) / scale
        assert error.max() < 1e-5


def test_the_config_in_a_saved_model_is_plain_json(windows):
    model = adapted_model(windows)
    assert json.loads(json.dumps(model.get_config()))["config"]["seq_len"] == 12
