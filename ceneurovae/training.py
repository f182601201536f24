"""`train`: scaler, optimizer, KL schedule and best weights behind one call."""

import dataclasses
import math

import keras

from ceneurovae.annealing import KLAnnealing
from ceneurovae.evaluation import evaluate_run
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import rebatched, stream
from ceneurovae.run_folder import RunFolder

OBJECTIVE = "elbo"


def train(
    model,
    train_ds,
    valid_ds=None,
    epochs=100,
    lr=1e-3,
    batch_size=32,
    kl_schedule="linear",
    warmup_epochs=10,
    kl_weight=1.0,
    patience=20,
    seed=None,
    run_dir=None,
    overwrite=False,
    callbacks=(),
    verbose="auto",
):
    """Trains a model and leaves it with its best weights.

    Adapts the scaler if that has not been done, compiles the model with Adam, and fits. The best
    epoch is the one with the highest validation ELBO (KL weight 1, whatever the schedule is
    doing); without validation data the last weights are kept.

    Args:
        model: `NeuroBehaviorVAE`.
        train_ds: Training data: a dataset of batches, as from `import_h5`, or an array
            `(N, T, C)`; `(x, mask)` wherever `x` is.
        valid_ds: Validation data, likewise.
        epochs: How often to go through the training data.
        lr: Learning rate of Adam.
        batch_size: Windows in a batch. Datasets of another batch size are batched anew.
        kl_schedule: Name or function for `KLAnnealing`, or `None` for a constant weight.
        warmup_epochs: Length of the ramp of the KL weight.
        kl_weight: KL weight at the end of the ramp.
        patience: Epochs without a better validation ELBO, after the ramp, before training stops;
            `None` trains for all `epochs`, as does leaving out `valid_ds`.
        seed: Seeds Python, NumPy and the backend before the fit, and is recorded. Weights are drawn
            when the model is made: call `keras.utils.set_random_seed` before that.
        run_dir: Run folder to write; nothing is written without it.
        overwrite: Whether to replace a run in `run_dir`.
        callbacks: Further Keras callbacks.
        verbose: As for `keras.Model.fit`.

    Returns:
        The `keras.callbacks.History` of the fit.

    Raises:
        ValueError: if an argument cannot be used.
        FileExistsError: if `run_dir` holds a run and `overwrite` is false.
        FloatingPointError: if the loss became NaN or infinite. The model has its best weights.
    """
    _check_arguments(epochs, lr, batch_size, warmup_epochs, kl_weight, patience)
    given, given_valid = train_ds, valid_ds
    splits = getattr(given, "splits", None)
    train_ds, valid_ds = (
        rebatched(data, batch_size) if _is_dataset(data) else data for data in (train_ds, valid_ds)
    )
    annealing = _annealing(kl_schedule, warmup_epochs, kl_weight)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if not model.adapted:
        model.adapt(given)
    run = None
    if run_dir is not None:
        arguments = {
            "epochs": epochs,
            "lr": lr,
            "batch_size": batch_size,
            "kl_schedule": kl_schedule if isinstance(kl_schedule, str) else repr(kl_schedule),
            "warmup_epochs": warmup_epochs,
            "kl_weight": kl_weight,
            "patience": patience,
            "seed": seed,
        }
        manifest = None if splits is None else splits.manifest()
        run = RunFolder.create(run_dir, model.config, arguments, manifest, overwrite)
    keeper = KeepBest(run)
    stopper = []
    if patience is not None and valid_ds is not None:
        stopper = [
            keras.callbacks.EarlyStopping(
                f"val_{OBJECTIVE}", mode="max", patience=patience, start_from_epoch=warmup_epochs
            )
        ]
    model.compile(optimizer=keras.optimizers.Adam(lr), jit_compile=jit_choice(model.config))
    is_dataset = _is_dataset(train_ds)
    order = [FollowEpoch(given.epoch)] if hasattr(given, "epoch") else []
    try:
        history = model.fit(
            train_ds,
            validation_data=valid_ds,
            epochs=epochs,
            batch_size=None if is_dataset else batch_size,
            shuffle=not is_dataset,
            verbose=verbose,
            callbacks=[*order, annealing, keeper, *stopper, *callbacks],
        )
    except Exception as error:
        for data in (given, given_valid):
            if getattr(getattr(data, "epoch", None), "failure", None) is not None:
                raise data.epoch.failure from error
        raise
    keeper.restore()
    return history


def train_run(splits, config, run_dir, seed=0, batch_size=32, **settings):
    """Builds, trains and evaluates a model in one go, from seed to `metrics.json`.

    Args:
        splits: `Splits` of the data.
        config: `VAEConfig`; `seq_len` and `channels` are set to those of the data.
        run_dir: Run folder to write.
        seed: Decides the weights, the order of the windows, dropout and the draws.
        batch_size: Windows in a batch.
        **settings: Further arguments of `train`.

    Returns:
        As `evaluate_run`.
    """
    windows = splits.train
    config = dataclasses.replace(config, seq_len=windows.seq_len, channels=len(windows.channels))
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(config)
    train_ds, valid_ds, _ = stream(splits, batch_size, seed=seed)
    train(model, train_ds, valid_ds, batch_size=batch_size, seed=seed, run_dir=run_dir, **settings)
    return evaluate_run(run_dir, splits)


class KeepBest(keras.callbacks.Callback):
    """Remembers the weights with the best validation ELBO; stops on a loss that is not finite.

    Args:
        run: `RunFolder` to write models and history to, or `None`.
    """

    def __init__(self, run=None):
        super().__init__()
        self.run = run
        self.best_epoch = None
        self.best = -math.inf
        self.weights = None
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.restore()
            raise FloatingPointError(self._diverged(epoch, logs["loss"]))
        objective = logs.get(f"val_{OBJECTIVE}", epoch)
        improved = objective > self.best
        if improved:
            self.best, self.best_epoch = objective, epoch
            self.weights = self.model.get_weights()
        if self.run is not None:
            self.rows.append({"epoch": epoch, **logs})
            self.run.write_history(self.rows)
            if improved:
                self.run.save_model(self.model, "model.keras")
            self.run.save_model(self.model, "last.keras")

    def restore(self):
        """Gives the model its best weights back."""
        if self.weights is not None:
            self.model.set_weights(self.weights)

    def _diverged(self, epoch, loss):
        if self.weights is None:
            good = "There is no good checkpoint yet"
        elif self.run is None:
            good = f"The model has its weights of epoch {self.best_epoch + 1} back"
        else:
            good = (
                f"The last good checkpoint is '{self.run.path / 'model.keras'}', of epoch "
                f"{self.best_epoch + 1}"
            )
        return (
            f"The loss became {loss} in epoch {epoch + 1}. {good}. Try a smaller lr, or look for "
            "outliers in the data."
        )


class FollowEpoch(keras.callbacks.Callback):
    """Has the data shuffled for the epoch that training is in, whatever passes came before.

    Args:
        epoch: The `Epoch` of a dataset.
    """

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch.number = epoch


def jit_choice(config):
    """Whether to compile the training step: as Keras decides, but for one case.

    On a CPU, Keras leaves XLA off under TensorFlow. A GRU then runs at 0.6 of the speed of a
    hand-written loop, with XLA at 1.4 of it.
    """
    if config.backbone == "gru" and keras.backend.backend() == "tensorflow":
        return True
    return "auto"


def _annealing(kl_schedule, warmup_epochs, kl_weight):
    if kl_schedule is None:
        return KLAnnealing(lambda epoch: kl_weight)
    return KLAnnealing(kl_schedule, warmup_epochs, stop=kl_weight)


def _is_dataset(data):
    """Whether `data` comes in batches of its own, as a `tf.data.Dataset` does."""
    return hasattr(data, "rebatch")


def _check_arguments(epochs, lr, batch_size, warmup_epochs, kl_weight, patience):
    least = {
        "epochs": (epochs, 1),
        "batch_size": (batch_size, 1),
        "warmup_epochs": (warmup_epochs, 0),
    }
    if patience is not None:
        least["patience"] = (patience, 1)
    for name, (value, minimum) in least.items():
        if not isinstance(value, int) or value < minimum:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {minimum}.")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr!r}, expected a number above 0.")
    if not 0 <= kl_weight < math.inf:
        raise ValueError(f"kl_weight is {kl_weight!r}, expected a number of at least 0.")
