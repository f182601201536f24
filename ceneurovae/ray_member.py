"""A member of a population as Ray Tune runs it: in a process of its own, a generation at a time."""

import os
import pickle
from typing import Any

from ray import tune

from ceneurovae.trial_process import ENVIRONMENT


class RayMember(tune.Trainable):
    """A `ray.tune.Trainable` whose step is one generation of one member.

    Its `config` has `hyperparameters`. `ray.tune.with_parameters` gives it, for `setup`, `backend`,
    the name of the Keras backend, and `task`, a pickled `(Population, training data, validation
    data)`, the data as `PackedData`: only once the backend is set may anything import Keras.
    """

    def setup(self, config: dict[str, Any], backend: str = "", task: bytes = b"") -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ["KERAS_BACKEND"] = backend
        self.population, *data = pickle.loads(task)
        self.data = [packed.unpacked() for packed in data]
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Makes this process that of another member, or of other hyperparameters."""
        from ceneurovae.population import Member

        self.hyperparameters = new_config["hyperparameters"]
        self.member = Member(number_of(self.trial_id))
        return True

    def step(self) -> dict[str, Any]:
        """Trains for one generation.

        Returns:
            `score`, minus infinity for a member that diverged, which keeps the weights that it had;
            `message`, why; `epochs` that its weights went through; `source`, whose they were.
        """
        import gc

        import keras

        from ceneurovae.generation import train_generation
        from ceneurovae.hypermodel import describe

        member = self.member
        keras.backend.clear_session()
        gc.collect()
        found: dict[str, Any] = {"source": member.source, "message": None}
        try:
            found["score"] = train_generation(
                self.population, member, self.hyperparameters, *self.data
            )
        except FloatingPointError as error:
            found |= {"score": float("-inf"), "message": describe(error)}
        except Exception as error:
            raise RuntimeError(describe(error)) from error
        return {**found, "epochs": member.state.epoch}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.member.write(checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.member.take_over(checkpoint)


def number_of(trial_id: str) -> int:
    """The number of a member, from 1: Ray counts trials in their names."""
    return int(trial_id.rsplit("_", 1)[-1]) + 1
