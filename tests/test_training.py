"""`train`: from a model and data to the best weights and a run folder."""

import hashlib
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from conftest import make_windows, tiny_config

import ceneurovae.model as model_pkg
from ceneurovae import NeuroBehaviorVAE, VAEConfig, evaluate, import_h5, train
from ceneurovae.console import progress_bar
from ceneurovae.decoding import windows_to_decode
from ceneurovae.evaluation import evaluate_run
from ceneurovae.model.mlp import MLP
from ceneurovae.progress import FitProgress
from ceneurovae.recipe import jit_choice
from ceneurovae.results import Evaluation
from ceneurovae.run_folder import RunFolder
from ceneurovae.selection import deviance


def new_model(**fields):
    keras.utils.set_random_seed(0)
    return NeuroBehaviorVAE(tiny_config(**fields))


def worm_run(path, out, **settings):
    """A short training on a simulated file, into a run folder."""
    train_ds, valid_ds, _ = import_h5(path, ["behavior"], seq_len=12, test_fraction=0.2)
    model = new_model()
    history = train(model, train_ds, valid_ds, run_dir=out, verbose=0, **{"epochs": 2, **settings})
    return model, history


def test_the_example_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("data.h5", "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(700, 3))

    from ceneurovae import NeuroBehaviorVAE, VAEConfig, import_h5, train

    train_ds, valid_ds = import_h5("data.h5")
    cfg = VAEConfig(
        seq_len=100, channels=3, latent_dim=32, hidden_dim=256, num_layers=2, dropout=0.1
    )
    model = NeuroBehaviorVAE(cfg)
    x = next(iter(train_ds))
    recon, mu, logvar = model(x)
    assert tuple(recon.shape) == (32, 100, 3)
    assert tuple(mu.shape) == tuple(logvar.shape) == (32, 32)
    history = train(
        model,
        train_ds.take(2),
        valid_ds,
        epochs=1,
        lr=1e-3,
        batch_size=32,
        kl_schedule="linear",
        verbose=0,
    )
    assert np.isfinite(history.history["val_elbo"]).all()
    assert list(tmp_path.iterdir()) == [tmp_path / "data.h5"]  # nothing was written
    assert model_pkg.NeuroBehaviorVAE is NeuroBehaviorVAE


def test_plain_keras_works_on_datasets(simulated_worms):
    from ceneurovae import KLAnnealing

    train_ds, valid_ds = import_h5(simulated_worms, ["behavior"], seq_len=12)
    model = new_model()
    model.adapt(train_ds)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    callback = KLAnnealing("linear", warmup_epochs=10)
    logs = model.fit(
        train_ds, validation_data=valid_ds, epochs=5, callbacks=[callback], verbose=0
    ).history
    assert set(logs) >= {p + n for p in ("", "val_") for n in ("loss", "reconstruction", "kl")}
    assert logs["reconstruction"][-1] < logs["reconstruction"][0]


@pytest.mark.parametrize("backbone", ["mlp", "conv"])
def test_arrays_train_like_datasets(windows, backbone):
    model = new_model(backbone=backbone)
    history = train(model, windows, windows, epochs=2, batch_size=10, verbose=0)
    assert model.adapted
    assert history.history["loss"][1] < history.history["loss"][0]


def test_masks_train_like_nan(windows):
    mask = ~np.isnan(windows)
    pair = (np.where(mask, windows, 9.0).astype("float32"), mask)
    elbos = []
    for data in (windows, pair):
        model = new_model()
        train(model, data, epochs=1, lr=1e-9, seed=0, verbose=0)
        elbos.append(evaluate(model, data, imputation=False).test.elbo)
    assert elbos[0] == pytest.approx(elbos[1], rel=1e-4)


@pytest.mark.parametrize("backbone", ["conv", "gru"])
def test_a_saved_model_leaves_compilation_to_the_backend_that_loads_it(windows, backbone, tmp_path):
    model = new_model(backbone=backbone)
    model.adapt(windows)
    model.compile(jit_compile=jit_choice(model.config, 32))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert config["compile_config"]["jit_compile"] == "auto"


def test_a_seed_makes_training_repeatable(windows):
    def losses(seed):
        keras.utils.set_random_seed(5)
        model = NeuroBehaviorVAE(tiny_config(dropout=0.2))
        return train(model, windows, epochs=2, seed=seed, verbose=0).history["loss"]

    assert losses(1) == losses(1)


def test_training_adapts_only_what_is_not_adapted(windows):
    model = new_model()
    model.adapt(windows * 2)
    before = keras.ops.convert_to_numpy(model.scaler.std)
    train(model, windows, epochs=1, verbose=0)
    np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(model.scaler.std))


@pytest.mark.once
def test_datasets_are_batched_anew_where_the_size_differs(simulated_worms):
    train_ds, valid_ds = import_h5(simulated_worms, ["behavior"], seq_len=12, batch_size=8)
    counts = []

    class CountBatches(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            counts.append(int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)))

    train(
        new_model(),
        train_ds,
        valid_ds,
        epochs=1,
        batch_size=32,
        callbacks=[CountBatches()],
        verbose=0,
    )
    assert counts == [len(train_ds.source) // 32]  # what is left over fills no batch


class WorseAfter(keras.callbacks.Callback):
    """Spoils the model after the given epoch, before it is validated."""

    def __init__(self, epoch):
        super().__init__()
        self.spoiled_epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.spoiled_epoch:
            model = self.model
            model.set_weights([w * 1.3 for w in model.get_weights()])


def test_the_best_weights_are_kept(windows, tmp_path):
    model = new_model()
    history = train(
        model,
        windows,
        windows,
        epochs=4,
        lr=1e-4,
        kl_schedule=None,
        callbacks=[WorseAfter(2)],
        run_dir=tmp_path / "run",
        verbose=0,
    )
    assert np.argmax(history.history["val_elbo"]) < 2
    assert history.choices["epoch"] < 2
    assert RunFolder(tmp_path / "run").choices == history.choices
    for best in (model, RunFolder(tmp_path / "run").load_model()):
        score = deviance(best, windows)
        assert score == pytest.approx(history.choices["deviance"], rel=0.05)


@pytest.mark.once
def test_patience_stops_training_but_not_before_the_ramp_is_over(windows, capsys):
    def epochs_run(warmup_epochs, callbacks=()):
        history = train(
            new_model(reconstruction_loss="mse"),  # a noise level moves whatever the rate is
            windows,
            windows,
            epochs=12,
            lr=1e-12,
            patience=2,
            warmup_epochs=warmup_epochs,
            callbacks=callbacks,
            verbose=0,
        )
        return len(history.epoch)

    assert epochs_run(0) < 6 < epochs_run(6) < 12
    with progress_bar() as progress:
        epochs = epochs_run(0, [FitProgress(progress, 64)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Epoch {epochs}/12") and last.endswith("this is the last epoch")


@pytest.mark.once
def test_a_model_may_have_been_compiled_before(windows):
    model = new_model()
    model.compile(optimizer=keras.optimizers.SGD(1e-6))
    model.fit(windows, epochs=1, verbose=0)
    history = train(model, windows, windows, epochs=2, verbose=0)
    assert np.isfinite(history.history["val_elbo"]).all()


@pytest.mark.once
def test_a_run_folder_tells_everything(simulated_worms, tmp_path):
    out = tmp_path / "runs" / "first"
    model, history = worm_run(simulated_worms, out)
    run = RunFolder(out)
    assert run.config == model.config
    assert {file.name for file in out.iterdir() if file.name != ".lock"} == {
        "config.json",
        "split.json",
        "environment.json",
        "history.csv",
        "model.keras",
        "checkpoint.npz",
        "choices.json",
    }
    rows = run.read_history()
    assert [row["epoch"] for row in rows] == [0, 1]
    for name, values in history.history.items():
        assert [row[name] for row in rows] == pytest.approx(values)
    environment = json.loads((out / "environment.json").read_text())
    assert environment["backend"] == keras.backend.backend()
    assert environment["versions"]["keras"] == keras.__version__
    training = json.loads((out / "config.json").read_text())["training"]
    assert (training["epochs"], training["kl_schedule"]) == (2, "linear")
    assert training["seed"] == environment["seed"]
    (file,) = environment["files"]
    assert file["path"] == str(simulated_worms)
    assert file["bytes"] == simulated_worms.stat().st_size
    assert file["sha256"] == hashlib.sha256(simulated_worms.read_bytes()).hexdigest()
    x = make_windows(5)
    np.testing.assert_array_equal(run.load_model().encode(x).mu, model.encode(x).mu)


@pytest.mark.once
def test_a_run_is_evaluated_on_the_test_data_of_its_files(simulated_worms, tmp_path):
    model, _ = worm_run(simulated_worms, tmp_path)
    found = evaluate_run(tmp_path, imputation=False)
    splits = import_h5(simulated_worms, ["behavior"], seq_len=12, test_fraction=0.2)[0].splits
    expected = evaluate(model, splits.test, splits.train, imputation=False)
    assert found.split == "test"
    assert found.channels == splits.test.channels
    assert found.validation.num_windows == len(splits.valid)
    assert found.test.r2 == pytest.approx(expected.test.r2, abs=1e-6)
    assert found.baselines.pca.r2 == pytest.approx(expected.baselines.pca.r2, abs=1e-6)
    assert Evaluation.from_json(RunFolder(tmp_path).read_metrics()) == found
    assert not found.validation.seen_in_training and found.train.seen_in_training


@pytest.mark.once
def test_after_a_refit_validation_data_counts_as_trained_on(simulated_worms, tmp_path):
    for test_fraction in (0.0, 0.2):
        given = import_h5(simulated_worms, ["behavior"], seq_len=12, test_fraction=test_fraction)
        out = tmp_path / str(test_fraction)
        train(new_model(), *given[:2], epochs=1, refit=True, run_dir=out, verbose=0)
        found = evaluate_run(out, refine=0, imputation=False)
        assert RunFolder(out).refitted
        if test_fraction:
            assert not found.test.seen_in_training and found.validation.seen_in_training
            assert "no-test-data" not in {verdict.code for verdict in found.verdict}
        else:
            assert found.split == "valid" and found.test.seen_in_training
            assert found.verdict[0].code == "no-test-data"
            assert windows_to_decode(given[0].splits, refitted=True)[0] == "all"


@pytest.mark.once
def test_an_existing_run_is_not_overwritten(simulated_worms, tmp_path):
    RunFolder.create(tmp_path, VAEConfig(), {}, None)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds a run already. Choose another folder or pass"):
        worm_run(simulated_worms, tmp_path, epochs=1)
    worm_run(simulated_worms, tmp_path, epochs=1, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.once
def test_a_run_on_arrays_says_so_when_its_files_are_asked_for(windows, tmp_path):
    train(new_model(), windows, windows, epochs=1, run_dir=tmp_path, verbose=0)
    assert RunFolder(tmp_path).load_model().adapted
    with pytest.raises(ValueError, match="was not trained on the datasets of import_h5"):
        evaluate_run(tmp_path)


def test_a_loss_that_is_not_finite_ends_in_an_error(windows, tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                model = self.model
                model.set_weights([w * np.nan for w in model.get_weights()])

    model = new_model()
    with pytest.raises(FloatingPointError) as caught:
        train(
            model,
            windows,
            windows,
            epochs=5,
            callbacks=[Spoil()],
            run_dir=tmp_path,
            verbose=0,
        )
    message = str(caught.value)
    assert "The loss became nan in epoch 3, batch 1, where the largest error is" in message
    assert f"The last good checkpoint is '{tmp_path / 'model.keras'}', of epoch " in message
    assert message.split("of epoch ")[1][0] in "12"
    for good in (model, RunFolder(tmp_path).load_model()):
        assert np.isfinite(good.encode(windows).mu).all()
    assert RunFolder(tmp_path).read_checkpoint().is_finite


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected a whole number of at least 1"),
        ({"batch_size": 2.0}, "batch_size is 2.0, expected a whole number"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1, expected a whole number of at least 0"),
        ({"patience": 0}, "patience is 0, expected a whole number of at least 1"),
        ({"lr": 0.0}, "lr is 0.0, expected a number above 0"),
        ({"kl_weight": -1.0}, "kl_weight is -1.0, expected a number of at least 0"),
        ({"kl_schedule": "up"}, "The KL schedule is 'up', expected one of linear"),
    ],
)
def test_errors(windows, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(new_model(), windows, windows, run_dir=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        RunFolder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json' is not JSON"):
        _ = RunFolder(tmp_path).config
    with pytest.raises(FileExistsError, match="is a file, expected a folder"):
        RunFolder.create(tmp_path / "config.json", VAEConfig(), {}, None)


class Numbers(keras.callbacks.Callback):
    """What the data takes for the next epoch, at the end of each."""

    def __init__(self, data):
        super().__init__()
        self.data, self.seen = data, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, self.data.epoch.number))


@pytest.mark.once
@pytest.mark.parametrize("memory_gb", [None, 0])
def test_data_is_shuffled_for_the_epoch_of_training(simulated_worms, memory_gb):
    data, valid = import_h5(simulated_worms, seq_len=12, stride=4, memory_gb=memory_gb)
    numbers = Numbers(data)
    model = NeuroBehaviorVAE(tiny_config(channels=len(data.source.channels)))
    next(iter(data))  # a look at the data must not move its order
    train(model, data, valid, epochs=3, verbose=0, callbacks=[numbers])
    # Each epoch was one pass, begun after the number was set to that of the epoch.
    assert numbers.seen == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("jit_compile", [True, False])
def test_it_trains_compiled_or_not(windows, jit_compile):
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("torch.compile needs a C++ compiler, and minutes")
    model = new_model()
    history = train(model, windows, epochs=3, lr=1e-2, jit_compile=jit_compile, verbose=0)
    assert model.jit_compile is jit_compile
    # XLA has random numbers of its own under TensorFlow, so that losses differ a little.
    assert history.history["loss"][2] < history.history["loss"][0]


def test_mixed_precision_is_for_networks_in_training_steps(windows, monkeypatch):
    computed = []

    def call(self, x, training=False):
        y = self.whole_call(x, training=training)
        computed.append((training, keras.backend.standardize_dtype(y.dtype)))
        return y

    monkeypatch.setattr(MLP, "whole_call", MLP.call, raising=False)
    monkeypatch.setattr(MLP, "call", call)
    losses = []
    for mixed_precision in (False, True):
        model = new_model()
        computed.clear()
        history = train(
            model, windows, windows, epochs=2, lr=1e-2, mixed_precision=mixed_precision, verbose=0
        )
        losses.append(history.history["loss"][-1])
        assert set(computed) == {
            (True, "bfloat16" if mixed_precision else "float32"),
            (False, "float32"),
        }
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


@pytest.mark.once
def test_streaming_and_memory_train_alike(simulated_worms):
    history = {}
    for memory_gb in (None, 0):
        data, valid = import_h5(simulated_worms, seq_len=12, memory_gb=memory_gb, shuffle=False)
        keras.utils.set_random_seed(0)
        model = NeuroBehaviorVAE(tiny_config(channels=len(data.source.channels)))
        history[memory_gb] = train(model, data, valid, epochs=2, seed=0, verbose=0).history
    for name, values in history[None].items():
        np.testing.assert_allclose(history[0][name], values, rtol=1e-5)


@pytest.mark.once
def test_trouble_with_a_streamed_file_is_said_as_it_is(tmp_path):
    values = np.random.default_rng(0).normal(size=(400, 2)).astype("float32")
    path = tmp_path / "data.h5"

    def write():
        with h5py.File(path, "w") as file:
            file["data"] = values

    write()
    data, valid = import_h5(path, seq_len=12, memory_gb=0)
    model = NeuroBehaviorVAE(tiny_config(channels=2))
    model.adapt(data)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="There is no file"):
        train(model, data, valid, epochs=1, verbose=0)
    values[100, 1] = np.inf
    write()
    data, valid = import_h5(path, seq_len=12, memory_gb=0)
    with pytest.raises(ValueError, match="channel 'data/1' is infinite in 1 samples, the first at"):
        train(NeuroBehaviorVAE(tiny_config(channels=2)), data, valid, epochs=1, verbose=0)
