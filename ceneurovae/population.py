"""Population-based training: what the members of a population share, and what each has.

Members train side by side. After each generation the worst of them take over the weights and the
optimizer of the best, with hyperparameters near theirs (Jaderberg et al., "Population based
training of neural networks", 2017; for neural recordings Keshtkaran et al., "A large-scale neural
network training framework for generalized estimation of single-trial population dynamics", Nature
Methods 2022).
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ceneurovae.checkpoint import FitState
from ceneurovae.config import VAEConfig
from ceneurovae.hypermodel import OBJECTIVES, SETTINGS, as_range
from ceneurovae.recipe import VALIDATIONS, Recipe, batch_size_for
from ceneurovae.whole_file import whole_file

# What can change between two generations: it changes no weight's shape, nor the unit of the scores.
LIVE = ("lr", "kl_weight", "dropout", "hide_share", "free_bits", "capacity", "noise")
# What does where nothing is said; `hide_share` only where something is hidden.
SPACE: dict[str, Any] = {
    "lr": (3e-4, 1e-2, "log"),
    "kl_weight": (0.2, 2.0, "log"),
    "dropout": (0.01, 0.5),
    "hide_share": (0.05, 0.5),
}
WHOLE_NUMBERS = ("population", "generations", "epochs_per_generation")

Hyperparameters = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Population:
    """What all members of a population have in common.

    Args:
        config: `VAEConfig` of the data, with what does not change.
        space: Names out of `LIVE`, each with a list of choices, or a range `(low, high)` or
            `(low, high, "log")`; `None` for `SPACE`.
        population: Number of members.
        generations: How often they are compared.
        epochs_per_generation: Times through the training data in between.
        objective: `"elbo"`, with KL weight 1 whatever a member trains with, or `"r2"`.
        seed: Decides hyperparameters, weights and the order of the windows.
        given: Settings of `train` that do not change.

    Raises:
        ValueError: if an argument cannot be used.
    """

    config: VAEConfig
    space: dict[str, Any] | None = None
    population: int = 4
    generations: int = 5
    epochs_per_generation: int = 10
    objective: str = "elbo"
    seed: int = 0
    given: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in WHOLE_NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1.")
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective is {self.objective!r}, expected one of {', '.join(OBJECTIVES)}."
            )
        unknown = sorted(set(self.given) - set(SETTINGS))
        if unknown:
            raise ValueError(f"{unknown[0]} is no setting; known are {', '.join(SETTINGS)}.")
        space = self.space
        if space is None:
            space = space_for(self.config)
        if not space:
            raise ValueError("The space is empty. Name what may change, with its choices.")
        ranges = {name: self._range(name, values) for name, values in space.items()}
        object.__setattr__(self, "space", ranges)

    def _range(self, name: str, values: Any) -> list[Any] | tuple[float, float, str]:
        if name not in LIVE:
            raise ValueError(
                f"The space has {name!r}, which cannot change while a model is trained; what can "
                f"is {', '.join(LIVE)}. Search for {name} with the engine keras-tuner."
            )
        if name == "hide_share" and not self.config.hide:
            raise ValueError(
                "The space has 'hide_share', but nothing is hidden. Say what is with hide."
            )
        found = as_range(name, values)
        if isinstance(found, tuple):
            found = (float(found[0]), float(found[1]), found[2])
        lowest = found[0] if isinstance(found, tuple) else min(found)
        if name == "dropout" and lowest == 0:
            raise ValueError(
                f"The space has {values!r} for dropout, but a model that drops nothing has no "
                "random state for it. Begin above 0, such as at 0.01."
            )
        return found

    @property
    def epochs(self) -> int:
        """Those of all generations together."""
        return self.generations * self.epochs_per_generation

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the training."""
        return {**SETTINGS, **self.given}

    @property
    def ramp(self) -> int:
        """Epochs in which the KL weight rises."""
        warmup = self.settings["warmup_epochs"]
        return min(self.epochs // 10 if warmup is None else warmup, self.epochs - 1)

    @property
    def first_compared(self) -> int:
        """The first generation, from 1, whose scores count: its last epoch is after the ramp."""
        return self.ramp // self.epochs_per_generation + 1

    def beginnings(self) -> list[Hyperparameters]:
        """Hyperparameters of each member at first: those of the config, then draws."""
        rng = np.random.default_rng(self.seed)
        own = {**self.config.to_dict(), **self.settings}
        first = {name: within(values, own[name]) for name, values in self._ranges.items()}
        others = [
            {name: draw(values, rng) for name, values in self._ranges.items()}
            for _ in range(self.population - 1)
        ]
        return [first, *others]

    @property
    def _ranges(self) -> dict[str, Any]:
        return self.space or {}

    def within(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Hyperparameters, moved into the space where they have left it."""
        return {name: within(self._ranges[name], v) for name, v in hyperparameters.items()}

    def chosen(self, hyperparameters: Hyperparameters) -> tuple[VAEConfig, dict[str, Any]]:
        """The `VAEConfig` of a member, and its settings of the training."""
        settings = {n: hyperparameters.get(n, value) for n, value in self.settings.items()}
        fields = {n: v for n, v in hyperparameters.items() if n not in settings}
        return dataclasses.replace(self.config, **fields), settings

    def recipe(self, settings: dict[str, Any], data: Any) -> Recipe:
        """The `Recipe` of all generations together, with the settings of `chosen`."""
        own = {
            "epochs": self.epochs,
            "batch_size": batch_size_for(data, settings["batch_size"]),
            "warmup_epochs": self.ramp,
            "seed": self.seed,
        }
        return Recipe(**{**settings, **own})

    def validated(self) -> list[int]:
        """Epochs, from 1, after which validation data is looked at."""
        often = max(1, self.epochs // VALIDATIONS)
        return [
            epoch
            for epoch in range(1, self.epochs + 1)
            if epoch % often == 0 or epoch % self.epochs_per_generation == 0
        ]


@dataclasses.dataclass(frozen=True)
class MemberReport:
    """What is known of a member.

    Args:
        number: From 1.
        hyperparameters: Those it has now.
        status: `"running"`, `"waiting"` for its turn or for the others, `"completed"`, `"failed"`.
        score: That of its last generation; `None` before there is one, or where it diverged.
        generation: How many are over.
        epochs: How many its weights went through.
        seconds: How long that took.
        source: The member whose weights it began its last generation with; `None` for its own.
        message: Why it failed, or diverged.
    """

    number: int
    hyperparameters: Hyperparameters
    status: str
    score: float | None = None
    generation: int = 0
    epochs: int | None = None
    seconds: float | None = None
    source: int | None = None
    message: str | None = None


@dataclasses.dataclass
class Member:
    """A member between two generations.

    Args:
        number: From 1.
        state: `FitState`: weights, optimizer, random state, history.
        schedule: What its weights went through, a dictionary for each generation: `generation`,
            `member` that trained it, `epochs` (number of epochs after it), `hyperparameters`,
            `score`.
    """

    number: int
    state: FitState = dataclasses.field(default_factory=FitState)
    schedule: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def write(self, folder: str | Path) -> None:
        """Writes `checkpoint.npz` and `schedule.json` into a folder."""
        self.state.write(Path(folder) / "checkpoint.npz")
        with whole_file(Path(folder) / "schedule.json") as file:
            file.write_text(json.dumps(self.schedule))

    def take_over(self, folder: str | Path) -> None:
        """Takes over what a member wrote: its own state, or that of a better one."""
        self.state = FitState.read(Path(folder) / "checkpoint.npz")
        self.schedule = json.loads((Path(folder) / "schedule.json").read_text())

    @property
    def source(self) -> int | None:
        """The member whose weights it has, `None` if they are its own."""
        last = self.schedule[-1]["member"] if self.schedule else self.number
        return None if last == self.number else last


def space_for(config: VAEConfig) -> dict[str, Any]:
    """What changes where nothing is said."""
    return {n: values for n, values in SPACE.items() if n != "hide_share" or config.hide}


def draw(values: Any, rng: np.random.Generator) -> Any:
    """A draw from a list of choices or a range `(low, high, "log" or "linear")`."""
    if isinstance(values, list):
        return values[int(rng.integers(len(values)))]
    low, high, scale = values
    if scale == "log":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


def within(values: Any, value: Any) -> Any:
    """A value, moved into a range where it is outside; the first of choices if it is none."""
    if isinstance(values, list):
        return value if value in values else values[0]
    low, high, _ = values
    return min(max(float(value), low), high)
