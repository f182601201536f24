"""The course of a training: scaler, fit, choice on validation data, refit, wherever it begins."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ceneurovae.callbacks import Checkpoints, DivergenceError, Interrupted, Interruption, KeepBest
from ceneurovae.checkpoint import FitState, weights_of
from ceneurovae.distribution import Devices, copy_variables
from ceneurovae.divergence import worst_channel
from ceneurovae.fitting import fit, prepare
from ceneurovae.hints import JSON, Array, Data
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.model.scaler import iterate_batches, some_windows
from ceneurovae.pipeline import (
    for_validation,
    is_dataset,
    joined,
    shuffled,
    steps_per_epoch,
    whole_batches,
)
from ceneurovae.recipe import VALIDATIONS, Recipe
from ceneurovae.run_folder import RunFolder
from ceneurovae.selection import MOST_WINDOWS, GiveUp, select
from ceneurovae.tracking import working


class Course:
    """One training, from its data to a trained model; it goes on from where its run folder is.

    Args:
        model: `NeuroBehaviorVAE`.
        data: Training and validation data, as for `train`.
        recipe: `Recipe`.
        devices: `Devices` to fit on.
        run_folder: `RunFolder` to write to, and to go on from; `None` where nothing is written.
        how_to_go_on: Sentence for who interrupts it.
    """

    def __init__(
        self,
        model: NeuroBehaviorVAE,
        data: tuple[Data, Data],
        recipe: Recipe,
        devices: Devices,
        run_folder: RunFolder | None,
        how_to_go_on: str,
    ) -> None:
        self.model, self.given, self.recipe = model, data, recipe
        self.devices, self.machines = devices, devices.machines
        self.run_folder = run_folder
        self.state = (run_folder and run_folder.read_checkpoint()) or FitState()
        self.retries = recipe.retries
        keras.utils.set_random_seed(recipe.seed)
        self.train_ds, self.valid_ds = data
        if not is_dataset(self.train_ds):
            self.train_ds = shuffled(self.train_ds, recipe.batch_size, recipe.seed)
        self.train_ds = whole_batches(self.train_ds)
        if is_dataset(self.valid_ds):
            self.valid_ds = for_validation(self.valid_ds, recipe.batch_size)
        self.steps = steps_per_epoch(self.train_ds, recipe.batch_size)
        self.saved_epoch: int | None = None
        # A model that was compiled here, and the share of the learning rate it was compiled with.
        self.compiled: tuple[NeuroBehaviorVAE, float] | None = None
        self.interruption = Interruption(how_to_go_on)

    def run(self, callbacks: Sequence[Any], verbose: Any) -> keras.callbacks.History:
        """Goes through what is left to do, and returns the history of the fit."""
        finished = self.run_folder is not None and self.run_folder.is_finished
        if int(self.machines.share(b"%d" % finished)):  # before this call
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
            self.state.subspace = dict(self.model.subspace)
            self.state.take(self.model)
            self.state.optimizer = []  # one that the model was compiled with before is not used
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
        self.interruption.check()  # it may have come after the last step
        return self._history(self.state.choices)

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
        recipe = self.recipe
        patience = None if self.valid_ds is None else recipe.patience
        often = 1 if recipe.patience is not None else max(1, recipe.epochs // VALIDATIONS)
        own: list[Any] = [KeepBest(self.state, recipe.warmup_epochs, patience)]
        if recipe.trial is not None and not self.devices.several:
            own.append(GiveUp(self.state, self._validation_windows, recipe.trial))
        self._fit_on_devices(
            self.model,
            self.train_ds,
            recipe.epochs,
            [*own, *callbacks],
            self.valid_ds,
            validation_freq=often,
            verbose=verbose,
        )

    def _fit_on_devices(
        self,
        model: NeuroBehaviorVAE,
        data: Data,
        epochs: int,
        callbacks: Sequence[Any],
        valid: Data = None,
        **arguments: Any,
    ) -> None:
        """Fits a model from where the state is."""
        size = self.recipe.batch_size
        there = [self.devices.share(part, size) for part in (data, valid)]
        try:
            with self.devices.scope():
                placed = self.devices.place(model)
                arguments = {"validation_data": there[1], **arguments}
                self._fit_with_retries(placed, there[0], epochs, callbacks, **arguments)
        except DivergenceError as error:
            copy_variables(placed, model)
            raise FloatingPointError(self._diverged(model, data, error)) from error
        copy_variables(placed, model)

    def _fit_with_retries(
        self,
        model: NeuroBehaviorVAE,
        data: Data,
        epochs: int,
        callbacks: Sequence[Any],
        **arguments: Any,
    ) -> None:
        state = self.state
        while True:
            again = self.compiled == (model, state.rate)
            prepare(model, self.recipe, self.steps, state, again)
            self.compiled = (model, state.rate)
            if state.over or state.epoch >= epochs:
                return
            own = [self.interruption, *callbacks, Checkpoints(state, self._write)]
            try:
                in_step = self.machines.several
                fit(model, data, self.recipe, state, epochs, own, in_step, **arguments)
                return
            except DivergenceError as error:
                model.compile(optimizer=model.optimizer)
                self.compiled = None
                state.give(model)
                if not self.retries:
                    raise
                self.retries -= 1
                state.rate *= 0.5
                warnings.warn(
                    f"{error}. Going on from epoch {state.epoch + 1} with half the learning rate.",
                    stacklevel=2,
                )

    def _validation_windows(self) -> Array:
        """Those on which choices are made, `(N, T, C)`."""
        return np.concatenate(list(some_windows(self.valid_ds, MOST_WINDOWS)))

    def _choose(self) -> None:
        """Chooses on validation data, and says what follows."""
        if self.valid_ds is None:
            self.model.adapt_residual(self.given[0])
            self.state.phase = "done"
            return
        candidates = [weights_of(self.model), *filter(None, [self.state.best_weights])]
        choices = select(self.model, self._validation_windows(), candidates)
        last = self.state.rows[-1]["epoch"]
        choices["epoch"] = self.state.best_epoch if choices.pop("weights") else last
        choices["residual"] = self.model.adapt_residual(*self.given)
        choices |= self.state.subspace
        refit = self.recipe.refit
        self.state = FitState(
            phase="refit" if refit else "done",
            rows=self.state.rows,
            rate=self.state.rate,
            least_loss=self.state.least_loss,
            choices=choices,
            subspace=self.state.subspace,
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
        likelihood = [np.array(weight) for weight in model.likelihood.get_weights()]
        data = whole_batches(joined(self.given[0], self.given[1], self.recipe.batch_size))
        keras.utils.set_random_seed(self.recipe.seed)
        if self.machines.first and not self.state.variables:
            fresh = NeuroBehaviorVAE.from_config(model.get_config())
            if not fresh.built:
                fresh.build((None, model.decoder.seq_len, model.decoder.channels))
            subspace = {name: choices[name] for name in self.state.subspace}
            fresh.adapt(data, scaler=model.scaler, **subspace)
            self.state.take(fresh)
        self._follow_first(model)
        if choices["decoder_gain"] > 0:
            trained = (choices["epoch"] + 1) * self.steps
            steps = steps_per_epoch(data, self.recipe.batch_size)
            own = [callback.for_refit() for callback in callbacks if hasattr(callback, "for_refit")]
            self._fit_on_devices(model, data, math.ceil(trained / steps), own, verbose=verbose)
        else:
            self.state.give(model)
        model.decoder.gain.assign(choices["decoder_gain"])
        model.encoder.gain.assign(choices["encoder_gain"])
        model.likelihood.set_weights(likelihood)
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
        channel = worst_channel(model, data, error)
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
