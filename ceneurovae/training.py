"""`train`: scaler, optimizer, KL schedule and best weights behind one call."""

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import keras

from ceneurovae.course import Course
from ceneurovae.distribution import Devices
from ceneurovae.hints import Data, PathLike
from ceneurovae.machines import Machines
from ceneurovae.model import NeuroBehaviorVAE
from ceneurovae.pipeline import is_dataset, rebatched, steps_per_epoch
from ceneurovae.recipe import Recipe, batch_size_for, check_arguments, default_epochs
from ceneurovae.run_folder import RunFolder, check_free, is_run


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
    give_up: bool | None = None,
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
            but 10 times at least; see `give_up`.
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
        give_up: Whether training ends once the ramp and an eighth of the epochs are over, if on
            validation data the network has not cut the error of the linear path by 2.5 % by then:
            by 5 % it would have to in the end. By default where `epochs` is left out, and the ELBO
            with weight 1 of all that was observed is what is maximised. Not on several devices.
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
    check_arguments(
        lr,
        kl_weight,
        epochs=epochs,
        batch_size=batch_size,
        warmup_epochs=warmup_epochs,
        patience=patience,
        retries=retries,
    )
    devices = Devices(distribute)
    if refit and valid_ds is None:
        raise ValueError("refit=True needs valid_ds, on which every choice is made before.")
    batch_size = batch_size_for(train_ds, batch_size)
    train_ds, valid_ds = (
        rebatched(data, batch_size) if is_dataset(data) else data for data in (train_ds, valid_ds)
    )
    plain = epochs is None and kl_weight == 1 and model.config.maximises_elbo
    may_give_up = plain if give_up is None else give_up
    epochs = epochs or default_epochs(steps_per_epoch(train_ds, batch_size))
    recipe = Recipe(
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        kl_schedule=kl_schedule,
        warmup_epochs=epochs // 10 if warmup_epochs is None else warmup_epochs,
        kl_weight=kl_weight,
        patience=patience,
        refit=refit,
        mixed_precision=mixed_precision,
        seed=random.randrange(2**31) if seed is None else seed,
        jit_compile=jit_compile,
        retries=retries,
        give_up=may_give_up and valid_ds is not None,
    )
    asked = {**recipe.to_dict(), "seed": seed, "give_up": give_up}
    manifest = getattr(train_ds, "splits", None) and train_ds.splits.manifest()
    machines = devices.machines
    how_to_go_on = _how_to_go_on(run_dir, machines)
    with ExitStack() as stack:
        stack.enter_context(machines.together(how_to_go_on))
        machines.require_same(settings=asked, model=model.config.to_dict(), data=manifest)
        run = None
        if run_dir is not None and machines.first:
            resumed = resume and is_run(run_dir)
            if not resumed:
                check_free(run_dir, overwrite)
            stack.enter_context(RunFolder.held(run_dir))
            if resumed:
                run = RunFolder(run_dir)
                run.require_same(model.config, asked, manifest)
                left_open = {"seed": run.training["seed"]}
                left_open["give_up"] = run.training.get("give_up", False)
                recipe = dataclasses.replace(recipe, **left_open)
            else:
                recorded = recipe.to_dict()
                run = RunFolder.create(run_dir, model.config, recorded, manifest, overwrite)
        settings = {"seed": recipe.seed, "give_up": recipe.give_up}
        settings = json.loads(machines.share(json.dumps(settings).encode()))
        recipe = dataclasses.replace(recipe, **settings)
        course = Course(model, (train_ds, valid_ds), recipe, devices, run, how_to_go_on)
        return course.run(callbacks, verbose if machines.first else 0)


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
