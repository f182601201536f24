"""What a training consists of, whoever runs it: settings, optimizer, KL schedule, how long."""

import dataclasses
import math
from collections.abc import Callable
from typing import Self

import keras

from ceneurovae.annealing import KLAnnealing
from ceneurovae.config import VAEConfig
from ceneurovae.hints import JSON, Data

BATCH_SIZE = 64
# How much training is enough where nothing is said: in steps, but some epochs at least.
STEPS, LEAST_EPOCHS = 1500, 10
# Of the steps, those in which the learning rate rises, and the share of it that is left at the end.
RISING, LEFT = 100, 0.02
WEIGHT_DECAY, LARGEST_GRADIENT = 0.01, 1.0
# Hidden units, by backbone, and windows in a batch, up to which XLA helps TensorFlow on a CPU.
WIDEST_FOR_XLA, LARGEST_FOR_XLA = {"gru": 64, "lstm": 64, "transformer": 32}, 64
# Times that many short epochs are interrupted to look at the validation data.
VALIDATIONS = 40
# Share of the epochs, but some epochs at least, that a network has after the ramp to show a gain.
TRIAL, LEAST_TRIAL = 0.125, 3
# The least of the whole numbers among the arguments of a training.
LEAST = {"epochs": 1, "batch_size": 1, "warmup_epochs": 0, "patience": 1, "retries": 0}
# Settings that a run may be resumed without, or with others.
UNRECORDED = ("jit_compile", "retries")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training, once all is known that `train` leaves to the data or to chance.

    Args:
        epochs, lr, batch_size, kl_schedule, warmup_epochs, kl_weight, patience, refit,
            mixed_precision, seed, jit_compile, retries, give_up: As for `train`; `vars` of a
            recipe are arguments for it.

    Raises:
        ValueError: if there is no such `kl_schedule`.
    """

    epochs: int
    lr: float
    batch_size: int
    kl_schedule: str | Callable[[int], float] | None
    warmup_epochs: int
    kl_weight: float
    patience: int | None = None
    refit: bool = False
    mixed_precision: bool = False
    seed: int = 0
    jit_compile: bool | None = None
    retries: int = 0
    give_up: bool = False

    def __post_init__(self) -> None:
        self.annealing()

    def to_dict(self) -> JSON:
        """What a run folder records of it, as JSON types."""
        recorded = {name: value for name, value in vars(self).items() if name not in UNRECORDED}
        if not isinstance(self.kl_schedule, str):
            recorded["kl_schedule"] = repr(self.kl_schedule)
        return recorded

    @classmethod
    def from_dict(cls, recorded: JSON) -> Self:
        """The recipe of `to_dict`; a schedule that was a function cannot be had again."""
        schedule = recorded["kl_schedule"]
        return cls(**{**recorded, "kl_schedule": None if schedule == "None" else schedule})

    @property
    def trial(self) -> int | None:
        """The epochs in which the network has to show a gain; `None` if it need not."""
        own = max(LEAST_TRIAL, math.ceil(TRIAL * self.epochs))
        return self.warmup_epochs + own if self.give_up else None

    def annealing(self) -> KLAnnealing:
        """The callback that moves the KL weight."""
        if self.kl_schedule is None:
            return KLAnnealing(lambda epoch: self.kl_weight)
        return KLAnnealing(self.kl_schedule, self.warmup_epochs, stop=self.kl_weight)


def check_arguments(lr: float, kl_weight: float, **whole_numbers: int | None) -> None:
    """Raises a `ValueError` unless a training can have these; `None` is left to the data."""
    for name, value in whole_numbers.items():
        least = LEAST[name]
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}.")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr!r}, expected a number above 0.")
    if not 0 <= kl_weight < math.inf:
        raise ValueError(f"kl_weight is {kl_weight!r}, expected a number of at least 0.")


def batch_size_for(data: Data, batch_size: int | None = None) -> int:
    """Windows in a batch: as given, as a dataset has it, or 64."""
    own: int = getattr(data, "batch_size", BATCH_SIZE)
    return batch_size or own


def default_epochs(steps: int) -> int:
    """How often to go through data of so many steps where nothing is said."""
    return max(LEAST_EPOCHS, math.ceil(STEPS / steps))


def jit_choice(config: VAEConfig, batch_size: int) -> bool | str:
    """Whether to compile the training step with XLA: as Keras decides, but for small steps.

    On a CPU, Keras leaves XLA off under TensorFlow. With it, in batches of 32, a GRU of width 32
    runs at 1.5 of the speed that it has without, an LSTM at twice, attention at a seventh more; of
    width 128 and more all are slower with it, and so are batches of 256. Convolutions are slower;
    and what `mlp` gains, a fifth, it takes to compile.

    Args:
        config: Settings of the model.
        batch_size: Windows in a batch.
    """
    narrow = config.hidden_dim <= WIDEST_FOR_XLA.get(config.backbone, 0)
    small = narrow and batch_size <= LARGEST_FOR_XLA
    if small and keras.backend.backend() == "tensorflow":
        # On a GPU, Keras has kernels for them, which XLA does not.
        return "auto" if keras.distribution.list_devices("gpu") else True
    return "auto"


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
