"""The state of a training between two epochs: everything that decides how it goes on."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from ceneurovae.hints import JSON, Array, PathLike
from ceneurovae.whole_file import whole_file

LISTS = ("variables", "optimizer", "best_weights")


@dataclass
class FitState:
    """Where a training is; with the same data, seed and backend, all that is to come follows.

    Args:
        phase: `"fit"`; `"refit"`, the last one on training and validation data together; `"done"`.
        epoch: The next epoch of the phase, from 0.
        over: Whether the phase has no further epochs, because patience ran out, or hope.
        rows: Rows of the history of `fit`, one per epoch.
        best: Highest objective so far, `None` before there is one, and its `best_epoch`.
        best_weights: The model's weights then, NumPy arrays.
        rate: What retries have multiplied the learning rate by.
        least_loss: The smallest size of the loss after any batch so far.
        choices: What was chosen on validation data, in `refit`.
        subspace: What the linear path was fitted with.
        variables: All of the model, with the states of its random generators, NumPy arrays.
        optimizer: Those of the optimizer; none before its first step.
    """

    phase: str = "fit"
    epoch: int = 0
    over: bool = False
    rows: list[JSON] = field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None
    rate: float = 1.0
    least_loss: float | None = None
    choices: JSON | None = None
    subspace: JSON = field(default_factory=dict)
    variables: list[Array] = field(default_factory=list)
    optimizer: list[Array] = field(default_factory=list)
    best_weights: list[Array] = field(default_factory=list)

    def take(self, model: Any) -> None:
        """Takes over the variables of a model, and of the optimizer it has."""
        self.variables = [_copy(variable) for variable in model.variables]
        optimizer = getattr(model, "optimizer", None)
        self.optimizer = [] if optimizer is None else [_copy(v) for v in optimizer.variables]

    def give(self, model: Any) -> None:
        """Gives a model, built and compiled alike, the variables of this state."""
        _assign(model.variables, self.variables)
        optimizer = getattr(model, "optimizer", None)
        if self.optimizer and optimizer is not None:
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
            _assign(optimizer.variables, self.optimizer)

    @property
    def is_finite(self) -> bool:
        """Whether no variable of the model is NaN or infinite."""
        return all(np.isfinite(value).all() for value in self.variables)

    def write(self, path: PathLike) -> None:
        """Writes the state to an `.npz` file, whole or not at all."""
        with whole_file(path) as temporary:
            # In one piece: NumPy 1 leaves its archive open where a disk is full.
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `write` writes."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in LISTS}
        arrays = {
            f"{name}/{index}": value
            for name in LISTS
            for index, value in enumerate(getattr(self, name))
        }
        file = io.BytesIO()
        np.savez(file, state=np.array(json.dumps(numbers)), **arrays)
        return file.getvalue()

    @classmethod
    def read(cls, path: PathLike) -> Self:
        """The state that `write` wrote.

        Raises:
            ValueError: if the file is none of these.
        """
        try:
            return cls._load(path)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"'{path}' is not a checkpoint of this version: {error}.") from error

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The state of `to_bytes`."""
        return cls._load(io.BytesIO(content))

    @classmethod
    def _load(cls, file: Any) -> Self:
        with np.load(file, allow_pickle=False) as arrays:
            numbers = json.loads(str(arrays["state"]))
            # Of earlier versions, which had no `least_loss`, and no `slowness`.
            numbers.pop("first_loss", None)
            if "shrinkage" in numbers:
                numbers["subspace"] = {"shrinkage": numbers.pop("shrinkage")}
            state = cls(**numbers)
            for name in LISTS:
                count = sum(key.startswith(f"{name}/") for key in arrays.files)
                setattr(state, name, [arrays[f"{name}/{index}"] for index in range(count)])
        return state

    def improves(self, objective: float | None) -> bool:
        """Whether an objective is better than all before."""
        return objective is not None and objective > (-math.inf if self.best is None else self.best)


def weights_of(model: Any) -> list[Array]:
    """A copy of a model's weights: those of `get_weights` share memory with PyTorch's."""
    return [np.array(value) for value in model.get_weights()]


def _copy(variable: Any) -> Array:
    return np.array(variable.numpy())


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    shapes = [tuple(variable.shape) for variable in variables], [value.shape for value in values]
    if shapes[0] != shapes[1]:
        raise ValueError("The checkpoint is of a model with other settings.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
