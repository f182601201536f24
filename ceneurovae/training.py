"""`train`: scaler, optimizer, KL schedule and best weights behind one call."""

import dataclasses
import itertools
import math
import random
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from ceneurovae.annealing import KLAnnealing
from ceneurovae.callbacks import (
    Checkpoints,
    DivergenceError,
    FollowEpoch,
    Interrupted,
    Interruption,
    KeepBest,
    WatchLoss,
)
from ceneurovae.checkpoint import FitState, weights_of
from ceneurovae.config import VAEConfig, groups_of
from ceneurovae.distribution import Devices, copy_variables
from ceneurovae.evaluation import evaluate_run
from ceneurovae.hints import JSON, Array, Data, PathLike
from ceneurovae.import_data import reload_splits
from ceneurovae.machines import Machines, join_machines
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.scaler import iterate_batches, some_windows
from ceneurovae.pipeline import is_dataset, joined, rebatched, shuffled, steps_per_epoch, stream
from ceneurovae.results import Evaluation
from ceneurovae.run_folder import RunFolder, check_free, is_run
from ceneurovae.selection import MOST_WINDOWS, select
from ceneurovae.splits import Splits
from ceneurovae.tracking import working
from ceneurovae.windows import Windows

BATCH_SIZE = 64
# How much training is enough where nothing is said: in steps, but some epochs at least.
STEPS, LEAST_EPOCHS = 1500, 10
# Of the steps, those in which the learning rate rises, and the share of it that is left at the end.
RISING, LEFT = 100, 0.02
WEIGHT_DECAY, LARGEST_GRADIENT = 0.01, 1.0
# Times that many short epochs are interrupted to look at the validation data.
VALIDATIONS = 40


def train(
    model: NeuroBehaviorVAE,
    train_ds: Data,
    valid_ds: Data = None,
    epochs: int | None = None,
    lr: float = 2e-3,
    batch_size: int | None = None,
    kl_schedule: str | Callable[[int], float] | None = "linear",
    warmup_epochs: int | None = None,
    kl_weight: float = 1.0,
    patience: int | None = None,
    refit: bool = False,
    seed: int | None = None,
    run_dir: PathLike | None = None,
    overwrite: bool = False,
    resume: bool = False,
    retries: int = 0,
    jit_compile: bool | None = None,
    mixed_precision: bool = False,
    distribute: str | None = None,
    callbacks: Sequence[Any] = (),
    verbose: Any = "auto",
) -> keras.callbacks.History:
    """Trains a model and leaves it with what is best on validation data.

    With a `run_dir` a training survives: after each epoch, but at most every 20 s, its whole state
    is written down, and `resume=True` goes on from there.

    Adapts scaler and linear path if that has not been done, and fits with AdamW, whose rate rises
    over the first steps and falls along a cosine to 2 % at the end. Then `select` chooses, on
    validation data, between the last weights and those of the epoch after the ramp with the highest
    ELBO (KL weight 1, whatever the schedule is doing), and how much the networks count beside the
    linear path. Without validation data the last weights are kept.

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
        seed: Seeds Python, NumPy, the backend and the order of arrays before the fit, and is
            recorded; drawn by default. Weights are drawn when the model is made: call
            `keras.utils.set_random_seed` before that.
        run_dir: Run folder to write; nothing is written without it.
        overwrite: Whether to replace a run in `run_dir`.
        resume: Whether to go on with the run in `run_dir`, if there is one that was interrupted;
            it must have the same settings and data. What comes out is as if it had never been
            interrupted, where the data is from `import_h5` or arrays. A run that is finished is
            loaded.
        retries: How often to go on from the last epoch with half the learning rate, when the loss
            is no longer finite or explodes.
        jit_compile: Whether to compile the training step with XLA; by default where that is faster.
        mixed_precision: Whether training steps compute the networks in bfloat16: faster on
            accelerators that have it. Weights, losses and all that follows stay in float32.
        distribute: `"auto"` to share the fit between all devices of the machine, on JAX and
            TensorFlow; `batch_size` is that of all together. What follows runs on one. On JAX, the
            same call in a process on each of several machines is one training, after
            `machines.join_machines`; the first of them alone writes to `run_dir`, makes the choices
            and shows progress, and all have the trained model. It is the last that they share.
        callbacks: Further Keras callbacks. In the refit only those that a method `for_refit` of
            them gives are called.
        verbose: As for `keras.Model.fit`.

    Returns:
        The `keras.callbacks.History` of the fit; its attribute `choices` is what `select` chose.

    Raises:
        ValueError: if an argument cannot be used.
        FileExistsError: if `run_dir` holds a run, and `overwrite` and `resume` are false.
        BlockingIOError: if another process trains in `run_dir`.
        FloatingPointError: if the loss became NaN or infinite, or exploded, and no retries are
            left. The model has its best weights.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, before the next batch. The state after the last
            epoch is in `run_dir`.
        ConnectionError: if another machine's process has ended. All have to be started again.
    """
    if batch_size is None:
        batch_size = getattr(train_ds, "batch_size", BATCH_SIZE)
    _check_arguments(epochs, lr, batch_size, warmup_epochs, kl_weight, patience, retries)
    devices = Devices(distribute)
    if refit and valid_ds is None:
        raise ValueError("refit=True needs valid_ds, on which every choice is made before.")
    train_ds, valid_ds = (
        rebatched(data, batch_size) if is_dataset(data) else data for data in (train_ds, valid_ds)
    )
    steps = steps_per_epoch(train_ds, batch_size)
    epochs = epochs or default_epochs(steps)
    if warmup_epochs is None:
        warmup_epochs = epochs // 10
    settings = {
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "kl_schedule": kl_schedule if isinstance(kl_schedule, str) else repr(kl_schedule),
        "warmup_epochs": warmup_epochs,
        "kl_weight": kl_weight,
        "patience": patience,
        "refit": refit,
        "mixed_precision": mixed_precision,
        "seed": seed,
    }
    annealing = make_annealing(kl_schedule, warmup_epochs, kl_weight)
    manifest = getattr(train_ds, "splits", None) and train_ds.splits.manifest()
    machines = devices.machines
    with ExitStack() as stack:
        how_to_go_on = _how_to_go_on(run_dir, machines)
        stack.enter_context(machines.together(how_to_go_on))
        machines.require_same(settings=settings, model=model.config.to_dict(), data=manifest)
        run, state = None, FitState()
        if run_dir is not None and machines.first:
            resumed = resume and is_run(run_dir)
            if not resumed:
                check_free(run_dir, overwrite)
            stack.enter_context(RunFolder.held(run_dir))
            if resumed:
                run = RunFolder(run_dir)
                run.require_same(model.config, settings, manifest)
                state = run.read_checkpoint() or state
                settings["seed"] = run.training["seed"]
        if settings["seed"] is None:
            settings["seed"] = random.randrange(2**31)
        settings["seed"] = int(machines.share(str(settings["seed"]).encode()))
        if run_dir is not None and run is None and machines.first:
            run = RunFolder.create(run_dir, model.config, settings, manifest, overwrite)
        training = _Training(
            model,
            (train_ds, valid_ds),
            settings,
            annealing,
            run,
            state,
            retries,
            jit_compile,
            devices,
            how_to_go_on,
        )
        return training.run(callbacks, verbose if machines.first else 0)


class _Training:
    """One call of `train`, from its arguments to a trained model; it goes on from a `FitState`."""

    def __init__(
        self,
        model: NeuroBehaviorVAE,
        given: Sequence[Data],
        settings: JSON,
        annealing: KLAnnealing,
        run: RunFolder | None,
        state: FitState,
        retries: int,
        jit_compile: Any,
        devices: Devices,
        how_to_go_on: str,
    ) -> None:
        self.devices, self.machines = devices, devices.machines
        self.model, self.given, self.settings = model, given, settings
        self.annealing, self.run_folder, self.state = annealing, run, state
        self.retries, self.jit_compile = retries, jit_compile
        keras.utils.set_random_seed(settings["seed"])
        self.train_ds, self.valid_ds = given
        if not is_dataset(self.train_ds):
            self.train_ds = shuffled(self.train_ds, settings["batch_size"], settings["seed"])
        self.steps = steps_per_epoch(self.train_ds, settings["batch_size"])
        self.saved_epoch: int | None = None
        self.interruption = Interruption(how_to_go_on)

    def run(self, callbacks: Sequence[Any], verbose: Any) -> keras.callbacks.History:
        """Goes through what is left to do, and returns the history of the fit."""
        if self._is_finished():
            self._build()
            if self.run_folder is not None:
                self.model.set_weights(self.run_folder.load_model().get_weights())
                self.state.choices = self.run_folder.choices
            self._follow_first(self.model)
            return self._history(self.state.choices)
        if self.machines.first and not self.state.variables:
            if not self.model.adapted:
                with working("Fitting scaler and linear path"):
                    self.model.adapt(*self.given)
            self.state.shrinkage = self.model.shrinkage
            self.state.take(self.model)
            self._write()
        self._build()
        self._follow_first(self.model)
        try:
            with self.interruption.listening():
                self._go_through_phases(callbacks, verbose)
        except Interrupted:
            self._write()
            raise
        except Exception as error:
            for data in self.given:
                if getattr(getattr(data, "epoch", None), "failure", None) is not None:
                    raise data.epoch.failure from error
            raise
        if self.run_folder is not None:
            self.run_folder.finish(self.model, self.state.choices)
        self._follow_first(self.model)
        return self._history(self.state.choices)

    def _is_finished(self) -> bool:
        """Whether the run was at its end before this call."""
        finished = self.run_folder is not None and self.run_folder.is_finished
        return bool(int(self.machines.share(b"%d" % finished)))

    def _follow_first(self, model: NeuroBehaviorVAE) -> None:
        """Takes over the state, and the values of a model, that the first machine has."""
        if not self.machines.several:
            return
        own = FitState()
        own.take(model)
        state, first = (self.machines.share(part.to_bytes()) for part in (self.state, own))
        if not self.machines.first:
            self.state = FitState.from_bytes(state)
            FitState.from_bytes(first).give(model)

    def _go_through_phases(self, callbacks: Sequence[Any], verbose: Any) -> None:
        if self.state.phase == "fit":
            self._fit(callbacks, verbose)
            self.interruption.check()
            if self.machines.first:
                with working("Choosing on validation data"):
                    self._choose()
            self._follow_first(self.model)
        if self.state.phase == "refit":
            self._refit(callbacks, verbose)

    def _build(self) -> None:
        if not self.model.built:
            first = next(iterate_batches(self.given[0]))
            self.model.build((None, *first.shape[1:]))

    def _fit(self, callbacks: Sequence[Any], verbose: Any) -> None:
        """Trains, and leaves the model with its last weights."""
        patience, epochs = self.settings["patience"], self.settings["epochs"]
        validated = self.valid_ds is not None
        keeper = KeepBest(
            self.state, self.settings["warmup_epochs"], patience if validated else None
        )
        self._keras_fit(
            self.model,
            self.train_ds,
            epochs,
            [keeper, *callbacks],
            verbose=verbose,
            validation_data=self.valid_ds,
            validation_freq=1 if patience is not None else max(1, epochs // VALIDATIONS),
        )

    def _keras_fit(
        self,
        model: NeuroBehaviorVAE,
        data: Data,
        epochs: int,
        callbacks: Sequence[Any],
        validation_data: Data = None,
        **arguments: Any,
    ) -> None:
        """`fit` from where the state is, with everything that every fit has, on all devices."""
        size = self.settings["batch_size"]
        train, valid = (self.devices.share(part, size) for part in (data, validation_data))
        try:
            with self.devices.scope():
                placed = self.devices.place(model)
                self._fit_placed(placed, train, valid, epochs, callbacks, **arguments)
        except DivergenceError as error:
            copy_variables(placed, model)
            raise FloatingPointError(self._diverged(model, data, error)) from error
        copy_variables(placed, model)

    def _fit_placed(
        self,
        model: NeuroBehaviorVAE,
        data: Data,
        validation_data: Data,
        epochs: int,
        callbacks: Sequence[Any],
        **arguments: Any,
    ) -> None:
        state = self.state
        values = model.decoder.seq_len * model.decoder.channels
        follow = FollowEpoch(data, self.settings["seed"])
        watch = WatchLoss(state, values)
        watch.async_safe = not self.machines.several  # all have to end at the same batch
        watching = [watch, self.interruption, follow]
        total = self.settings["epochs"] * self.steps
        while True:
            optimizer = make_optimizer(self.settings["lr"] * state.rate, total)
            jit = jit_choice(model.config) if self.jit_compile is None else self.jit_compile
            model.mixed_precision = self.settings["mixed_precision"]
            model.compile(optimizer=optimizer, jit_compile=jit)
            # TensorFlow traces a step twice that makes variables.
            optimizer.build(model.trainable_variables)
            state.give(model)
            if state.over or state.epoch >= epochs:
                return
            try:
                checkpoints = Checkpoints(state, self._write)
                model.fit(
                    data,
                    epochs=epochs,
                    initial_epoch=state.epoch,
                    shuffle=False,  # the data does it
                    validation_data=validation_data,
                    callbacks=[self.annealing, *watching, *callbacks, checkpoints],
                    **arguments,
                )
                return
            except DivergenceError as error:
                model.compile(optimizer=optimizer)
                state.give(model)
                if not self.retries:
                    raise
                self.retries -= 1
                state.rate *= 0.5
                warnings.warn(
                    f"{error}. Going on from epoch {state.epoch + 1} with half the learning rate.",
                    stacklevel=2,
                )

    def _choose(self) -> None:
        """Chooses on validation data, and says what follows."""
        if self.valid_ds is None:
            self.model.adapt_residual(self.given[0])
            self.state.phase = "done"
            return
        candidates = [weights_of(self.model), *filter(None, [self.state.best_weights])]
        valid = np.concatenate(list(some_windows(self.valid_ds, MOST_WINDOWS)))
        choices = select(self.model, valid, candidates)
        last = self.state.rows[-1]["epoch"]
        choices["epoch"] = self.state.best_epoch if choices.pop("weights") else last
        choices["residual"] = self.model.adapt_residual(*self.given)
        choices["shrinkage"] = self.state.shrinkage
        refit = self.settings["refit"]
        self.state = FitState(
            phase="refit" if refit else "done",
            rows=self.state.rows,
            rate=self.state.rate,
            least_loss=self.state.least_loss,
            choices=choices,
            shrinkage=self.state.shrinkage,
            best_weights=weights_of(self.model) if refit else [],
        )

    def _refit(self, callbacks: Sequence[Any], verbose: Any) -> None:
        """Trains anew on training and validation data, as many steps, with the choices made.

        The rate, the ramp and the end of the training keep their places among the steps. The
        scaler is that of the training data, for which the choices were made.
        """
        model = self.model
        choices: JSON = self.state.choices or {}
        model.set_weights(self.state.best_weights)
        data = joined(self.given[0], self.given[1], self.settings["batch_size"])
        keras.utils.set_random_seed(self.settings["seed"])
        fresh = NeuroBehaviorVAE.from_config(model.get_config())
        if not fresh.built:
            fresh.build((None, model.decoder.seq_len, model.decoder.channels))
        if self.machines.first and not self.state.variables:
            fresh.adapt(data, shrinkage=choices["shrinkage"], scaler=model.scaler)
            self.state.take(fresh)
        self._follow_first(fresh)
        if choices["decoder_gain"] > 0:
            trained = (choices["epoch"] + 1) * self.steps
            steps = steps_per_epoch(data, self.settings["batch_size"])
            own = [callback.for_refit() for callback in callbacks if hasattr(callback, "for_refit")]
            self._keras_fit(fresh, data, math.ceil(trained / steps), own, verbose=verbose)
        fresh.decoder.gain.assign(choices["decoder_gain"])
        fresh.encoder.gain.assign(choices["encoder_gain"])
        for chosen, weight in zip(model.likelihood.weights, fresh.likelihood.weights, strict=True):
            weight.assign(chosen)
        model.set_weights(fresh.get_weights())
        if self.machines.first:
            model.adapt_residual(data, choices=choices["residual"])

    def _history(self, choices: JSON | None) -> keras.callbacks.History:
        """What Keras returns from a fit, for the epochs of all parts of the training."""
        history = keras.callbacks.History()
        history.set_model(self.model)
        history.on_train_begin()
        history.history = {}
        for row in self.state.rows:
            history.epoch.append(row["epoch"])
            for name, value in row.items():
                if name != "epoch":
                    history.history.setdefault(name, []).append(value)
        history.choices = choices
        return history

    def _write(self) -> None:
        """Writes the state, the history and the best model so far to the run folder, if any."""
        run, state = self.run_folder, self.state
        if run is None:
            return
        run.write_checkpoint(state)
        if state.phase != "fit":
            return
        run.write_history(state.rows)
        if self.devices.several:
            state.give(self.model)  # what is fitted is a copy
        # Without validation data there is no best epoch, and the last one is kept.
        if state.best_epoch is None or state.best_epoch != self.saved_epoch:
            current = weights_of(self.model)
            self.model.set_weights(state.best_weights or current)
            run.save_model(self.model)
            self.model.set_weights(current)
            self.saved_epoch = state.best_epoch

    def _diverged(self, model: NeuroBehaviorVAE, data: Data, error: DivergenceError) -> str:
        """What to tell of a training that could not go on; the model gets its best weights."""
        state = self.state
        channel = _worst_channel(model, data, error)
        if state.best_weights:
            model.set_weights(state.best_weights)
        epoch = state.epoch if state.best_epoch is None else state.best_epoch + 1
        if not epoch:
            good = "There is no good checkpoint yet"
        elif self.run_folder is None:
            good = f"The model has its weights of epoch {epoch} back"
        else:
            self._write()
            good = (
                f"The last good checkpoint is '{self.run_folder.path / 'model.keras'}', of epoch "
                f"{epoch}"
            )
        return (
            f"{error}, where the largest error is that of channel {channel}. {good}. Try a smaller "
            "lr, or retries (--retries), which go on with half of it, or look for outliers in that "
            "channel."
        )


def _how_to_go_on(run_dir: PathLike | None, machines: Machines) -> str:
    """What to do when a training was interrupted."""
    if run_dir is None:
        return "Nothing was kept: give train a run_dir to be able to resume."
    if machines.several:
        return (
            "To go on, start all processes again: ceneurovae train --resume "
            f"{run_dir} --distribute auto"
        )
    return f"To go on: ceneurovae train --resume {run_dir}"


def _worst_channel(model: NeuroBehaviorVAE, data: Data, error: DivergenceError) -> int | str:
    """Name or number of the channel with the largest error in the batch of a `DivergenceError`.

    The error is that of the reconstruction or of the channel's mean, whichever is larger: a linear
    model meets an outlier in one channel by being wrong in all that go along with it.
    """
    if getattr(data, "epoch", None) is not None:
        data.epoch.number = error.epoch
    x = next(itertools.islice(iterate_batches(data), error.batch, None))
    scaled = model.scaler.as_numpy(x)
    deviation = scaled - model.scaler.as_numpy(model.reconstruct(x))
    seen = ~np.isnan(x)

    def mean_square(values: Array) -> Array:
        values = np.where(seen, values.astype("float64"), 0)
        return np.square(values).sum(axis=(0, 1)) / np.maximum(seen.sum(axis=(0, 1)), 1)

    own = mean_square(scaled)
    squares = np.nan_to_num(np.maximum(mean_square(deviation), own), nan=np.inf, posinf=np.inf)
    index = int(np.lexsort((own, squares))[-1])
    channels = getattr(getattr(data, "source", None), "channels", None)
    return index if channels is None else f"'{channels[index]}'"


def train_run(
    splits: Splits,
    config: VAEConfig,
    run_dir: PathLike,
    seed: int = 0,
    batch_size: int | None = None,
    **settings: Any,
) -> Evaluation | None:
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
        As `evaluate_run`, without the scores of imputation, which take longer. Where several
        machines train, all but the first get `None`.
    """
    first = settings.get("distribute") is None or join_machines().first
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    config = fitted_to(config, splits.train)
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
    return evaluate_run(run_dir, splits, imputation=False) if first else None


def resume_run(
    run_dir: PathLike,
    retries: int = 0,
    callbacks: Sequence[Any] = (),
    verbose: Any = "auto",
    distribute: str | None = None,
) -> Evaluation | None:
    """Goes on with a run of `train_run` or the command line that was interrupted, and evaluates it.

    Args:
        run_dir: Run folder; its settings and data are those of the run.
        retries, callbacks, verbose, distribute: As for `train`.

    Returns:
        As `train_run`.

    Raises:
        FileNotFoundError, ValueError: if there is no run, or its files are not what they were.
        BlockingIOError: if another process trains there.
    """
    run = RunFolder(run_dir)
    settings = run.training
    if settings["kl_schedule"] == "None":
        settings["kl_schedule"] = None
    return train_run(
        reload_splits(run.manifest),
        run.config,
        run_dir,
        **settings,
        resume=True,
        retries=retries,
        callbacks=callbacks,
        verbose=verbose,
        distribute=distribute,
    )


def default_epochs(steps: int) -> int:
    """How often to go through data of so many steps where nothing is said."""
    return max(LEAST_EPOCHS, math.ceil(STEPS / steps))


def fitted_to(config: VAEConfig, windows: Windows) -> VAEConfig:
    """A `VAEConfig` with the window length, the channels and the groups of `Windows`."""
    return dataclasses.replace(
        config,
        seq_len=windows.seq_len,
        channels=len(windows.channels),
        channel_groups=config.channel_groups or groups_of(windows.channels),
    )


def jit_choice(config: VAEConfig) -> bool | str:
    """Whether to compile the training step: as Keras decides, but for one case.

    On a CPU, Keras leaves XLA off under TensorFlow. A GRU then runs at 0.6 of the speed of a
    hand-written loop, with XLA at 1.4 of it.
    """
    if config.backbone == "gru" and keras.backend.backend() == "tensorflow":
        return True
    return "auto"


def make_annealing(
    kl_schedule: str | Callable[[int], float] | None, warmup_epochs: int, kl_weight: float
) -> KLAnnealing:
    """The `KLAnnealing` of a training."""
    if kl_schedule is None:
        return KLAnnealing(lambda epoch: kl_weight)
    return KLAnnealing(kl_schedule, warmup_epochs, stop=kl_weight)


def make_optimizer(lr: float, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a training of so many steps, with its schedule."""
    rising = min(RISING, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else lr,
        max(1, steps - rising),
        alpha=LEFT,
        warmup_target=lr if rising else None,
        warmup_steps=rising,
    )
    return keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, global_clipnorm=LARGEST_GRADIENT)


def _check_arguments(
    epochs: int | None,
    lr: float,
    batch_size: int | None,
    warmup_epochs: int | None,
    kl_weight: float,
    patience: int | None,
    retries: int,
) -> None:
    least = {
        "epochs": (epochs, 1),
        "batch_size": (batch_size, 1),
        "warmup_epochs": (warmup_epochs, 0),
        "patience": (patience, 1),
        "retries": (retries, 0),
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
