"""`VAEHyperModel`: which models and trainings Keras Tuner may try, and how one is tried."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from ceneurovae.callbacks import KeepBest
from ceneurovae.checkpoint import FitState
from ceneurovae.config import VAEConfig
from ceneurovae.evaluation import evaluate
from ceneurovae.fitting import fit, prepare
from ceneurovae.hints import JSON, Data
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import is_dataset, rebatched, shuffled, steps_per_epoch
from ceneurovae.recipe import BATCH_SIZE, Recipe, batch_size_for, default_epochs, make_optimizer

# What is searched where nothing is said: lists of choices, and ranges `(low, high[, "log"])`.
SPACE = {
    "backbone": ["mlp", "conv", "gru"],
    "latent_dim": (2, 64, "log"),
    "hidden_dim": [32, 64, 128, 256],
    "num_layers": (1, 4),
    "dropout": (0.0, 0.3),
    "lr": (3e-4, 1e-2, "log"),
    "kl_schedule": ["linear", "sigmoid", "cyclical"],
    "hide": ["", "entries", "spans"],
}
# Settings of the training, beside the fields of `VAEConfig`, and those that `train` has by default.
SETTINGS = {
    "lr": 2e-3,
    "kl_schedule": "linear",
    "kl_weight": 1.0,
    "warmup_epochs": None,
    "batch_size": None,
    "jit_compile": None,
    "mixed_precision": False,
}
OF_THE_DATA = ("seq_len", "channels", "channel_groups")
# With these, scores are in other units.
OTHER_UNITS = {
    "elbo": ("reconstruction_loss", "reduction", "huber_delta", "scale"),
    "r2": ("scale",),
}
OBJECTIVES = {name: keras_tuner.Objective(f"val_{name}", "max") for name in OTHER_UNITS}
# What backends call an accelerator, or a process, that is out of memory.
NO_MEMORY = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory")


class VAEHyperModel(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` of `NeuroBehaviorVAE`, for any tuner of Keras Tuner.

    A trial is trained as `train` does: the same optimizer, schedules and scaler. It ends early, and
    is scored, on epochs after the ramp of the KL weight only. `search` takes the data, and
    `validation_data`, `epochs` and `callbacks`.

    ELBOs can be compared where the likelihood, its reduction and the scale of the channels are the
    same; the backbone, the latents, hiding and the noise level of `"gaussian"` may differ. R2 can
    also be compared between likelihoods, but says nothing of uncertainty.

    Args:
        config: `VAEConfig` with what is not searched; with `channels`, for `get_best_models`.
        space: Names of fields of `VAEConfig` or of settings of `train` (`lr`, `kl_schedule`,
            `kl_weight`, `warmup_epochs`, `batch_size`), each with a list of choices or a range
            `(low, high)` or `(low, high, "log")`; `SPACE` by default. `hide` takes text with
            commas. `hidden_dim` is rounded up to what the attention heads can share.
        objective: `"elbo"`, for `val_elbo` (KL weight 1); `"r2"` adds `val_r2`, that of the
            reconstruction from the means of the latents with the best weights.
        patience: Epochs without a better `val_elbo` before a trial ends.
        seed: Decides the weights and the order of the windows, the same for all trials.
        **settings: Settings of `train` that are not searched.

    Raises:
        ValueError: if the space has a name or values that cannot be searched.

    Example:

    >>> hypermodel = VAEHyperModel(VAEConfig(seq_len=20, channels=3), {"latent_dim": [2, 4]})
    >>> hp = keras_tuner.HyperParameters()
    >>> hypermodel.build(hp).config.latent_dim
    2
    """

    def __init__(
        self,
        config: VAEConfig | None = None,
        space: JSON | None = None,
        objective: str = "elbo",
        patience: int = 10,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.config = VAEConfig() if config is None else config
        self.space = {
            name: as_range(name, values)
            for name, values in (SPACE if space is None else space).items()
        }
        self.objective, self.patience, self.seed = objective, patience, seed
        unknown = sorted(set(settings) - set(SETTINGS))
        if unknown:
            raise ValueError(f"{unknown[0]} is no setting; known are {', '.join(SETTINGS)}.")
        self.given = settings
        self.settings = {**SETTINGS, **settings}
        self._check()

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.config, self.space, self.objective, self.patience, self.seed)
        return _make, (arguments, self.given)

    def _check(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective is {self.objective!r}, expected one of {', '.join(OBJECTIVES)}."
            )
        if not self.space:
            raise ValueError("The space is empty. Name what is to be searched, with its choices.")
        fields = [name for name in VAEConfig.names() if name not in OF_THE_DATA]
        for name in self.space:
            if name not in fields and name not in SETTINGS:
                raise ValueError(
                    f"The space has {name!r}, which cannot be searched; known are "
                    f"{', '.join([*fields, *SETTINGS])}."
                )
            if name in OTHER_UNITS[self.objective]:
                raise ValueError(
                    f"The space has {name!r}, but the {self.objective} of models that differ in it "
                    "cannot be compared. Leave it out"
                    + (" or choose objective='r2'." if name not in OTHER_UNITS["r2"] else ".")
                )

    def declare_hyperparameters(self, hp: Any) -> None:
        for name, values in self.space.items():
            declare(hp, name, values)

    def chosen(self, hp: Any) -> tuple[VAEConfig, JSON]:
        """What a trial is: `(VAEConfig, settings of train)`.

        Args:
            hp: `keras_tuner.HyperParameters`.

        Raises:
            ValueError: if the values do not go together.
        """
        values = {name: declare(hp, name, values) for name, values in self.space.items()}
        settings = {name: values.pop(name, other) for name, other in self.settings.items()}
        if "hide" in values:
            values["hide"] = tuple(filter(None, values["hide"].split(",")))
        fields = self.config.to_dict() | values
        fields["hidden_dim"] = shareable(fields)
        return VAEConfig(**fields), settings

    def build(self, hp: Any) -> NeuroBehaviorVAE:
        try:
            config, settings = self.chosen(hp)
            keras.utils.set_random_seed(self.seed)
            model = NeuroBehaviorVAE(config)
        except ValueError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        model.compile(optimizer=make_optimizer(settings["lr"], 1))
        if model.built:  # Keras Tuner loads the optimizer with the weights
            model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self,
        hp: Any,
        model: NeuroBehaviorVAE,
        x: Data,
        validation_data: Data,
        epochs: int | None = None,
        initial_epoch: int = 0,
        batch_size: int | None = None,
        callbacks: Sequence[Any] = (),
        throughout: Sequence[Any] = (),
        verbose: Any = "auto",
        **arguments: Any,
    ) -> dict[str, float]:
        """Trains a model of `build`, and scores it.

        Args:
            hp: `keras_tuner.HyperParameters`.
            model: The model.
            x: Training data, as for `train`.
            validation_data: Validation data, likewise.
            epochs: How often to go through the training data, as for `train`.
            initial_epoch, callbacks, verbose, **arguments: As for `keras.Model.fit`. The callbacks
                are called after the ramp of the KL weight.
            throughout: Callbacks that are called in all epochs.
            batch_size: Windows in a batch, where it is not searched.

        Returns:
            Dictionary of the metrics of the epoch with the best `val_elbo`, and `epochs`, those
            gone through.

        Raises:
            keras_tuner.errors.FailedTrialError: if the loss is no longer finite, or there is not
                enough memory.
        """
        _, settings = self.chosen(hp)
        size = settings["batch_size"] or batch_size
        try:
            return self._fit(
                model,
                batched(x, size, self.seed),
                batched(validation_data, size),
                settings,
                epochs,
                initial_epoch,
                (throughout, callbacks),
                {"verbose": verbose, **arguments},
            )
        except Exception as error:
            if isinstance(error, (FloatingPointError, MemoryError)) or lacks_memory(error):
                raise keras_tuner.errors.FailedTrialError(describe(error)) from error
            raise

    def _fit(
        self,
        model: NeuroBehaviorVAE,
        data: Data,
        valid: Data,
        settings: JSON,
        epochs: int | None,
        begun: int,
        callbacks: Sequence[Sequence[Any]],
        arguments: JSON,
    ) -> dict[str, float]:
        if not model.adapted:
            model.adapt(data, valid)
        size = batch_size_for(data)
        steps = steps_per_epoch(data, size)
        epochs = epochs or default_epochs(steps)
        warmup = settings["warmup_epochs"]
        ramp = min(epochs // 10 if warmup is None else warmup, epochs - 1)
        own = {"epochs": epochs, "batch_size": size, "warmup_epochs": ramp, "seed": self.seed}
        recipe = Recipe(**{**settings, **own})
        arguments = {"validation_data": valid, **arguments}
        state = FitState(epoch=begun)
        prepare(model, recipe, steps, state)
        throughout, later = callbacks
        if begun < ramp:
            fit(model, data, recipe, state, ramp, throughout, **arguments)
            state.epoch = ramp
        later = [*throughout, KeepBest(state, ramp, self.patience), *later]
        fit(model, data, recipe, state, epochs, later, **arguments)
        if state.best is None or not math.isfinite(state.best):
            raise FloatingPointError("The ELBO on validation data is no number in any epoch.")
        scores = next(row for row in state.rows if row["epoch"] == state.best_epoch)
        scores = {name: float(value) for name, value in scores.items() if name != "epoch"}
        scores["epochs"] = float(state.rows[-1]["epoch"] + 1)
        if self.objective == "r2":
            model.set_weights(state.best_weights)
            scores["val_r2"] = r2_of(model, valid)
        return scores


def _make(arguments: tuple[Any, ...], settings: JSON) -> VAEHyperModel:
    return VAEHyperModel(*arguments, **settings)


def as_range(name: str, values: Any) -> list[Any] | tuple[float, float, str]:
    """Values of a space as a list of choices, or as the range `(low, high, "log" or "linear")`.

    Args:
        name: That of the hyperparameter.
        values: List of choices; `(low, high)` or `(low, high, "log")`; or, as in JSON, a list that
            ends in `"log"` or `"linear"`.

    Raises:
        ValueError: if they are none of these.
    """
    if isinstance(values, list) and values and values[-1] in ("log", "linear"):
        values = tuple(values)
    if isinstance(values, tuple) and len(values) in (2, 3):
        low, high, *scale = values
        scale = scale[0] if scale else "linear"
        numbers = all(isinstance(end, (int, float)) for end in (low, high))
        if numbers and low < high and scale in ("log", "linear") and (low > 0 or scale != "log"):
            return low, high, scale
    if isinstance(values, list) and values:
        if name == "hide":
            return [kind if isinstance(kind, str) else ",".join(kind) for kind in values]
        if all(isinstance(value, (bool, int, float, str)) for value in values):
            return list(values)
    raise ValueError(
        f"The space has {values!r} for {name}, expected a list of choices or a range "
        "(low, high) or (low, high, 'log')."
    )


def declare(hp: Any, name: str, values: Any) -> Any:
    """Declares a hyperparameter, and gives the value that a trial has for it."""
    if isinstance(values, list):
        return hp.Choice(name, values)
    low, high, scale = values
    whole = isinstance(low, int) and isinstance(high, int)
    return (hp.Int if whole else hp.Float)(name, low, high, sampling=scale)


def shareable(fields: JSON) -> int:
    """The width of fields of `VAEConfig`, rounded up to one that its backbone can have."""
    divisor = 1
    if fields["backbone"] not in ("mlp", "linear") and fields["positional_encoding"] != "learned":
        divisor = 2
    if fields["backbone"] == "transformer":
        divisor = math.lcm(divisor, fields["num_heads"])
    return -(-fields["hidden_dim"] // divisor) * divisor


def batched(data: Data, batch_size: int | None, seed: int | None = None) -> Data:
    """Data in batches of that size, if any; an array is shuffled where there is a `seed`."""
    if is_dataset(data):
        return data if batch_size is None else rebatched(data, batch_size)
    return data if seed is None else shuffled(data, batch_size or BATCH_SIZE, seed)


def r2_of(model: NeuroBehaviorVAE, valid: Data) -> float:
    """R2 of the reconstruction of validation data from the means of the latents."""
    r2 = evaluate(model, valid, refine=0, iwae_samples=1, imputation=False).test.r2
    if r2 is None:
        raise FloatingPointError("R2 is not defined: nothing in the validation data varies.")
    return r2


def lacks_memory(error: BaseException) -> bool:
    """Whether an error of a backend says that there was not enough memory."""
    return any(word in f"{type(error).__name__}: {error}" for word in NO_MEMORY)


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, FloatingPointError) else f"{type(error).__name__}: {text}"
