"""A fit of Keras that goes on from a `FitState`, as every training of this package has it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from ceneurovae.arenas import keeping_memory
from ceneurovae.callbacks import FollowEpoch, WatchLoss
from ceneurovae.checkpoint import FitState
from ceneurovae.hints import Data
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.recipe import Recipe, jit_choice, make_optimizer

# Bytes of a hidden layer, up to which a step is small enough to keep its large arrays as well.
LARGEST_KEPT = 1 << 22


def prepare(
    model: NeuroBehaviorVAE, recipe: Recipe, steps: int, state: FitState, again: bool = False
) -> None:
    """Compiles a model, with an optimizer that is built, and gives it the variables of a state.

    Args:
        model: `NeuroBehaviorVAE`, built.
        recipe: `Recipe`; its epochs are those of the whole training.
        steps: Training steps in an epoch.
        state: `FitState`; one without variables leaves the model those that it has.
        again: Whether the model was prepared so before. It keeps its compiled functions, and its
            optimizer begins anew.
    """
    if again:
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        state.give(model)
        return
    jit = recipe.jit_compile
    if jit is None:
        jit = jit_choice(model.config, recipe.batch_size)
    model.mixed_precision = recipe.mixed_precision
    optimizer = make_optimizer(recipe.lr * state.rate, recipe.epochs * steps)
    # Not several steps per execution: a loss that explodes is named with its batch. Under JAX they
    # gain nothing; under TensorFlow, a fifth where steps are small, and 2 % with convolutions.
    model.compile(optimizer=optimizer, jit_compile=jit)
    # TensorFlow traces a step twice that makes variables.
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow" and not (model.jit_compile or model.run_eagerly):
        model.make_train_function()
        model.train_function = _in_one_function(model.train_step, model.train_function)
    if state.variables:
        state.give(model)


def fit(
    model: NeuroBehaviorVAE,
    data: Data,
    recipe: Recipe,
    state: FitState,
    epochs: int,
    callbacks: Sequence[Any] = (),
    in_step: bool = False,
    **arguments: Any,
) -> None:
    """`model.fit` from the epoch of a state on: KL schedule, order of the data, an eye on the loss.

    Args:
        model: `NeuroBehaviorVAE`, from `prepare`.
        data: Dataset of batches, which shuffles itself.
        recipe: `Recipe`.
        state: `FitState`. Callbacks move it on, but for its `least_loss`.
        epochs: The epoch to end before, from 0.
        callbacks: Further Keras callbacks, called after those that every fit has.
        in_step: Whether others fit with this process, which all have to end at the same batch.
        **arguments: Further arguments of `keras.Model.fit`.

    Raises:
        DivergenceError: if the loss is no longer finite, or explodes.
    """
    watch = WatchLoss(state, model.decoder.seq_len * model.decoder.channels)
    watch.async_safe = not in_step
    hidden = 4 * recipe.batch_size * model.decoder.seq_len * model.config.hidden_dim
    with keeping_memory(large=hidden <= LARGEST_KEPT):
        model.fit(
            data,
            epochs=epochs,
            initial_epoch=state.epoch,
            shuffle=False,  # the data does it
            callbacks=[recipe.annealing(), watch, FollowEpoch(data, recipe.seed), *callbacks],
            **arguments,
        )


def _in_one_function(
    step: Callable[[Data], Any], otherwise: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """A step of TensorFlow as a function of an iterator: batch and step in one compiled function.

    Keras has three, one in another, and hands results on in an optional: .7 ms a step.

    Args:
        step: Function of a batch.
        otherwise: What to do with iterators that are not of one `tf.data.Dataset` on one device.
    """
    import tensorflow as tf

    @tf.function(reduce_retracing=True, autograph=False)
    def next_step(iterator: Any) -> Any:
        return step(iterator.get_next())

    def train_function(iterator: Any) -> Any:
        plain = isinstance(iterator, tf.data.Iterator)
        return next_step(iterator) if plain else otherwise(iterator)

    return train_function
