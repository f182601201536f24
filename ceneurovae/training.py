"""`train`: scaler, optimizer, KL schedule and best weights behind one call."""

import dataclasses
import math
import time

import keras
import numpy as np

from ceneurovae.annealing import KLAnnealing
from ceneurovae.config import groups_of
from ceneurovae.evaluation import evaluate_run
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.scaler import some_windows
from ceneurovae.pipeline import is_dataset, joined, rebatched, steps_per_epoch, stream
from ceneurovae.run_folder import RunFolder
from ceneurovae.selection import MOST_WINDOWS, select

OBJECTIVE = "elbo"
BATCH_SIZE = 64
# How much training is enough where nothing is said: in steps, but some epochs at least.
STEPS, LEAST_EPOCHS = 1500, 10
# Of the steps, those in which the learning rate rises, and the share of it that is left at the end.
RISING, LEFT = 100, 0.02
WEIGHT_DECAY, LARGEST_GRADIENT = 0.01, 1.0
# Times that many short epochs are interrupted to look at the validation data.
VALIDATIONS = 40
# Seconds between the checkpoints of short epochs.
SAVE_EVERY_S = 20


def train(
    model,
    train_ds,
    valid_ds=None,
    epochs=None,
    lr=2e-3,
    batch_size=None,
    kl_schedule="linear",
    warmup_epochs=None,
    kl_weight=1.0,
    patience=None,
    refit=False,
    seed=None,
    run_dir=None,
    overwrite=False,
    callbacks=(),
    verbose="auto",
):
    """Trains a model and leaves it with what is best on validation data.

    Adapts scaler and linear path if that has not been done, and fits with AdamW, whose rate rises
    over the first steps and falls along a cosine to 2 % at the end. Then `select` chooses, on
    validation data, between the last weights and those of the epoch with the highest ELBO (KL
    weight 1, whatever the schedule is doing), and how much the networks count beside the linear
    path. Without validation data the last weights are kept.

    Args:
        model: `NeuroBehaviorVAE`.
        train_ds: Training data: a dataset of batches, as from `import_h5`, or an array
            `(N, T, C)`; `(x, mask)` wherever `x` is.
        valid_ds: Validation data, likewise.
        epochs: How often to go through the training data; by default as often as makes 1500 steps,
            but 10 times at least.
        lr: Highest learning rate of AdamW.
        batch_size: Windows in a batch; by default as the dataset has it, or 64. Datasets of
            another batch size are batched anew.
        kl_schedule: Name or function for `KLAnnealing`, or `None` for a constant weight.
        warmup_epochs: Length of the ramp of the KL weight; a tenth of the epochs by default.
        kl_weight: KL weight at the end of the ramp.
        patience: Epochs without a better validation ELBO, after the ramp, before training stops;
            by default it goes through all of its `epochs`, for which its learning rate is laid out.
        refit: Whether to train once more, on training and validation data together, with every
            choice fixed. Scores on the validation data then mean nothing.
        seed: Seeds Python, NumPy and the backend before the fit, and is recorded. Weights are drawn
            when the model is made: call `keras.utils.set_random_seed` before that.
        run_dir: Run folder to write; nothing is written without it.
        overwrite: Whether to replace a run in `run_dir`.
        callbacks: Further Keras callbacks.
        verbose: As for `keras.Model.fit`.

    Returns:
        The `keras.callbacks.History` of the fit; its attribute `choices` is what `select` chose.

    Raises:
        ValueError: if an argument cannot be used.
        FileExistsError: if `run_dir` holds a run and `overwrite` is false.
        FloatingPointError: if the loss became NaN or infinite. The model has its best weights.
    """
    if batch_size is None:
        batch_size = getattr(train_ds, "batch_size", BATCH_SIZE)
    _check_arguments(epochs, lr, batch_size, warmup_epochs, kl_weight, patience)
    if refit and valid_ds is None:
        raise ValueError("refit=True needs valid_ds, on which every choice is made before.")
    given = train_ds, valid_ds
    train_ds, valid_ds = (
        rebatched(data, batch_size) if is_dataset(data) else data for data in given
    )
    steps = steps_per_epoch(train_ds, batch_size)
    epochs = epochs or max(LEAST_EPOCHS, math.ceil(STEPS / steps))
    if warmup_epochs is None:
        warmup_epochs = epochs // 10
    annealing = _annealing(kl_schedule, warmup_epochs, kl_weight)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if not model.adapted:
        model.adapt(*given)
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
            "refit": refit,
            "seed": seed,
        }
        splits = getattr(given[0], "splits", None)
        manifest = None if splits is None else splits.manifest()
        run = RunFolder.create(run_dir, model.config, arguments, manifest, overwrite)
    keeper = KeepBest(run, has_validation=valid_ds is not None)
    stopper = []
    if patience is not None and valid_ds is not None:
        stopper = [
            keras.callbacks.EarlyStopping(
                f"val_{OBJECTIVE}", mode="max", patience=patience, start_from_epoch=warmup_epochs
            )
        ]
    followed, total = getattr(given[0], "epoch", None), epochs * steps

    def fit(model, data, epochs, validation, callbacks):
        jit = jit_choice(model.config)
        model.compile(optimizer=_optimizer(lr, total), jit_compile=jit)
        return model.fit(
            data,
            validation_data=validation,
            validation_freq=1 if patience is not None else max(1, epochs // VALIDATIONS),
            epochs=epochs,
            batch_size=None if is_dataset(data) else batch_size,
            shuffle=not is_dataset(data),
            verbose=verbose,
            callbacks=[annealing, *callbacks],
        )

    order = [FollowEpoch(followed)] if followed is not None else []
    try:
        history = fit(model, train_ds, epochs, valid_ds, [*order, keeper, *stopper, *callbacks])
    except Exception as error:
        for data in given:
            if getattr(getattr(data, "epoch", None), "failure", None) is not None:
                raise data.epoch.failure from error
        raise
    history.choices = None
    if valid_ds is not None:
        weights = [model.get_weights(), keeper.weights]
        valid = np.concatenate(list(some_windows(valid_ds, MOST_WINDOWS)))
        choices = select(model, valid, [w for w in weights if w is not None])
        choices["epoch"] = keeper.best_epoch if choices.pop("weights") else history.epoch[-1]
        choices["residual"] = model.adapt_residual(*given)
        history.choices = {**choices, "shrinkage": model.shrinkage}
        if refit:
            _refit(model, given, history.choices, batch_size, steps, fit)
    else:
        model.adapt_residual(given[0])
    if run is not None:
        run.finish(model, history.choices)
    return history


def _refit(model, given, choices, batch_size, steps, fit):
    """Trains anew on training and validation data, as many steps, with the choices that were made.

    The rate, the ramp and the end of the training keep their places among the steps.
    """
    data = joined(*given, batch_size)
    fresh = NeuroBehaviorVAE.from_config(model.get_config())
    fresh.adapt(data, shrinkage=choices["shrinkage"])
    if choices["decoder_gain"] > 0:
        trained = (choices["epoch"] + 1) * steps
        fit(fresh, data, math.ceil(trained / steps_per_epoch(data, batch_size)), None, [])
    fresh.decoder.gain.assign(choices["decoder_gain"])
    fresh.encoder.gain.assign(choices["encoder_gain"])
    for chosen, weight in zip(model.likelihood.weights, fresh.likelihood.weights, strict=True):
        weight.assign(chosen)
    model.set_weights(fresh.get_weights())
    model.adapt_residual(data, choices=choices["residual"])


def train_run(splits, config, run_dir, seed=0, batch_size=None, **settings):
    """Builds, trains and evaluates a model in one go, from seed to `metrics.json`.

    Args:
        splits: `Splits` of the data.
        config: `VAEConfig`; `seq_len` and `channels` are set to those of the data.
        run_dir: Run folder to write.
        seed: Decides the weights, the order of the windows, dropout and the draws.
        batch_size: Windows in a batch, 64 by default.
        **settings: Further arguments of `train`; `refit` is true by default where there is test
            data to score what comes out.

    Returns:
        As `evaluate_run`, without the scores of imputation, which take longer.
    """
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    windows = splits.train
    config = dataclasses.replace(
        config,
        seq_len=windows.seq_len,
        channels=len(windows.channels),
        channel_groups=config.channel_groups or groups_of(windows.channels),
    )
    keras.utils.set_random_seed(seed)
    model = NeuroBehaviorVAE(config)
    train_ds, valid_ds, _ = stream(splits, batch_size, seed=seed)
    settings.setdefault("refit", len(splits.valid) > 0 and len(splits.test) > 0)
    train(
        model,
        train_ds,
        valid_ds if len(splits.valid) else None,
        batch_size=batch_size,
        seed=seed,
        run_dir=run_dir,
        **settings,
    )
    return evaluate_run(run_dir, splits, imputation=False)


class KeepBest(keras.callbacks.Callback):
    """Remembers the weights with the best validation ELBO; stops on a loss that is not finite.

    Args:
        run: `RunFolder` to write models and history to, or `None`.
        has_validation: Whether there is validation data; without it the last weights are the best.
    """

    def __init__(self, run=None, has_validation=True):
        super().__init__()
        self.run = run
        self.has_validation = has_validation
        self.best_epoch = None
        self.best = -math.inf
        self.weights = None
        self.rows = []
        self.saved_at = -math.inf

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.restore()
            if self.run is not None and self.weights is not None:
                self.run.save_model(self.model, "model.keras")
            raise FloatingPointError(self._diverged(epoch, logs["loss"]))
        # An epoch that was not validated cannot be the best.
        objective = logs.get(f"val_{OBJECTIVE}", -math.inf if self.has_validation else epoch)
        improved = objective > self.best
        if improved:
            self.best, self.best_epoch = objective, epoch
            self.weights = self.model.get_weights()
        if self.run is not None:
            self.rows.append({"epoch": epoch, **logs})
            self._save(improved)

    def on_train_end(self, logs=None):
        if self.run is not None:
            self.saved_at = -math.inf
            self._save(False)

    def _save(self, improved):
        """Writes the history and the models, but not more often than every 20 s."""
        if time.monotonic() - self.saved_at < SAVE_EVERY_S:
            return
        self.run.write_history(self.rows)
        if improved or not self.run.has_model:
            self.run.save_model(self.model, "model.keras")
        self.run.save_model(self.model, "last.keras")
        self.saved_at = time.monotonic()

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


def _optimizer(lr, steps):
    rising = min(RISING, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else lr,
        max(1, steps - rising),
        alpha=LEFT,
        warmup_target=lr if rising else None,
        warmup_steps=rising,
    )
    return keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, global_clipnorm=LARGEST_GRADIENT)


def _check_arguments(epochs, lr, batch_size, warmup_epochs, kl_weight, patience):
    least = {
        "epochs": (epochs, 1),
        "batch_size": (batch_size, 1),
        "warmup_epochs": (warmup_epochs, 0),
        "patience": (patience, 1),
    }
    for name, (value, minimum) in least.items():
        if value is None:  # left to the data
            continue
        if not isinstance(value, int) or value < minimum:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {minimum}.")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr!r}, expected a number above 0.")
    if not 0 <= kl_weight < math.inf:
        raise ValueError(f"kl_weight is {kl_weight!r}, expected a number of at least 0.")
