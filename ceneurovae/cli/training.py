"""`ceneurovae train`, and how it goes on with a training that was interrupted."""

from pathlib import Path
from typing import Annotated

import typer

from ceneurovae.cli.config_file import read_config
from ceneurovae.cli.data import read_data
from ceneurovae.cli.options import (
    AllowExternal,
    Backend,
    Layout,
    MemoryGB,
    MinLikelihood,
    Overwrite,
    Quiet,
    Stride,
    Transpose,
    option,
)
from ceneurovae.cli.progress import training_at_work


def train(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, folders, or patterns such as 'data/*.h5'.", show_default=False),
    ] = None,
    out: Annotated[Path | None, option("Run folder to write.", show_default=False)] = None,
    resume: Annotated[
        Path | None,
        option(
            "Run folder of a training to go on with, with its files and settings.",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        str | None,
        option("Names of channels or whole datasets, with commas between; globs work."),
    ] = None,
    seq_len: Annotated[
        int | None, option("Window length in samples.", show_default="as in the file, or 100")
    ] = None,
    stride: Stride = 1,
    valid_fraction: Annotated[float, option("Share of the time for validation.")] = 0.12,
    test_fraction: Annotated[float, option("Share of the time, its end, for test.")] = 0.2,
    gap: Annotated[
        int | None, option("Samples between the splits.", show_default="one window")
    ] = None,
    by: Annotated[
        str | None,
        option(
            "Split by time, by recording, or by a label such as animal.",
            show_default="the file's own split, or time",
        ),
    ] = None,
    short: Annotated[
        str, option("Recordings shorter than a window: error, drop, or pad with missing values.")
    ] = "error",
    align: Annotated[
        str, option("Recordings with different channels: error, union or intersection.")
    ] = "error",
    resample_hz: Annotated[
        float | None, option("Rate to resample to.", show_default="as recorded")
    ] = None,
    memory_gb: MemoryGB = None,
    layout: Layout = None,
    transpose: Transpose = False,
    min_likelihood: MinLikelihood = 0.9,
    allow_external: AllowExternal = False,
    batch_size: Annotated[int | None, option("Windows in a batch.", show_default="64")] = None,
    seed: Annotated[int, option("Decides the order and the weights.")] = 0,
    latent_dim: Annotated[int, option("Number of latents.")] = 32,
    hidden_dim: Annotated[int, option("Width of the hidden layers.")] = 256,
    num_layers: Annotated[int, option("Hidden layers of encoder and decoder each.")] = 3,
    dropout: Annotated[float, option("Share of hidden units dropped in training.")] = 0.05,
    backbone: Annotated[str, option("mlp, conv, gru, lstm, transformer or linear.")] = "mlp",
    num_heads: Annotated[int, option("Attention heads of the transformer.")] = 4,
    positional_encoding: Annotated[str, option("sinusoidal or learned.")] = "sinusoidal",
    reconstruction_loss: Annotated[
        str, option("gaussian, mse or huber; poisson for counts, bernoulli for zeros and ones.")
    ] = "gaussian",
    noise: Annotated[str, option("Noise level of gaussian: shared, or one a channel.")] = "shared",
    huber_delta: Annotated[float, option("Error at which huber becomes linear.")] = 1.0,
    reduction: Annotated[str, option("sum or mean of the loss over a window.")] = "sum",
    scale: Annotated[
        str, option("What channels are divided by: deviation of channel, group, or none.")
    ] = "channel",
    free_bits: Annotated[float, option("Nats of KL that each latent has for nothing.")] = 0.0,
    capacity: Annotated[float, option("Nats of KL that training aims at.")] = 0.0,
    augment: Annotated[bool, option("Stretch and scale training windows at random.")] = True,
    encoder_steps: Annotated[int, option("Steps on the decoder in encoding.")] = 2,
    hide: Annotated[
        str | None,
        option("Hidden in training, with commas: entries, spans, channels, groups, end."),
    ] = None,
    hide_share: Annotated[float, option("Share of a window that is hidden.")] = 0.2,
    epochs: Annotated[
        int | None,
        option("Times through the training data.", show_default="as many as make 1500 steps"),
    ] = None,
    lr: Annotated[float, option("Highest learning rate of AdamW.")] = 2e-3,
    kl_schedule: Annotated[str, option("linear, step, cyclical or sigmoid.")] = "linear",
    warmup_epochs: Annotated[
        int | None,
        option("Length of the ramp of the KL weight.", show_default="a tenth of the epochs"),
    ] = None,
    kl_weight: Annotated[float, option("KL weight at the end of the ramp.")] = 1.0,
    patience: Annotated[
        int | None, option("Epochs without progress before it stops.", show_default="no limit")
    ] = None,
    refit: Annotated[
        bool,
        option("Train once more on training and validation data, with every choice fixed."),
    ] = True,
    retries: Annotated[
        int, option("Times to go on with half the learning rate when the loss explodes.")
    ] = 0,
    give_up: Annotated[
        bool | None,
        option(
            "End early where the network shows no gain over the linear path.",
            show_default="without --epochs",
        ),
    ] = None,
    jit_compile: Annotated[
        bool | None,
        option("Compile the training step with XLA.", show_default="where that is faster"),
    ] = None,
    mixed_precision: Annotated[
        bool,
        typer.Option("--mixed-precision", help="Compute the networks in bfloat16 in training."),
    ] = False,
    distribute: Annotated[
        str | None,
        option(
            "auto: share the fit between all devices of the machine, or of all machines that the "
            "KERAS_DISTRIBUTION variables name.",
            show_default="one",
        ),
    ] = None,
    backend: Backend = None,
    quiet: Quiet = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves to RUN/tensorboard.")
    ] = False,
    overwrite: Overwrite = False,
    config: Annotated[
        Path | None,
        option("JSON or TOML file with any of these options.", callback=read_config, is_eager=True),
    ] = None,
) -> None:
    """Train a model on recordings and evaluate it on held-out data."""
    given = dict(locals())
    from ceneurovae import console
    from ceneurovae.evaluation_table import show_evaluation
    from ceneurovae.machines import place

    first = place(distribute).first  # of several processes, the one that writes and tells
    if resume is not None:
        _refuse_beside_resume(context)
        from ceneurovae.run_folder import RunFolder

        run = RunFolder(resume)
        backend = backend or run.environment["backend"]
        batch_size = run.training["batch_size"]
        with training_at_work(resume, backend, quiet, batch_size, tensorboard, first) as callbacks:
            from ceneurovae.runs import resume_run

            evaluation = resume_run(resume, retries, callbacks, 0, distribute)
        if evaluation is not None:
            show_evaluation(evaluation)
        return
    if not files or out is None:
        missing = "--out" if files else "FILES"
        raise ValueError(f"{missing} is missing: ceneurovae train FILES --out FOLDER")
    from ceneurovae.run_folder import check_free

    if first:
        check_free(out, overwrite)
    splits, model_config = read_data(given)
    with training_at_work(out, backend, quiet, batch_size, tensorboard, first) as callbacks:
        from ceneurovae.runs import train_run

        evaluation = train_run(
            splits,
            model_config,
            out,
            seed,
            batch_size,
            epochs=epochs,
            lr=lr,
            kl_schedule=kl_schedule,
            warmup_epochs=warmup_epochs,
            kl_weight=kl_weight,
            patience=patience,
            refit=refit and len(splits.valid) > 0,
            overwrite=overwrite,
            retries=retries,
            give_up=give_up,
            jit_compile=jit_compile,
            mixed_precision=mixed_precision,
            distribute=distribute,
            callbacks=callbacks,
            verbose=0,
        )
    if evaluation is not None:
        show_evaluation(evaluation)
        if not quiet:
            console.say(f"Run folder: {out}")


def _refuse_beside_resume(context: typer.Context) -> None:
    """Raises a `ValueError` for options that a resumed run has by itself."""
    own = {"resume", "backend", "quiet", "retries", "tensorboard", "distribute"}
    given = [
        parameter.opts[0] if parameter.opts[0].startswith("-") else "FILES"
        for parameter in context.command.params
        if parameter.name not in own
        and (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name not in ("DEFAULT", "DEFAULT_MAP")
        and context.params.get(parameter.name) not in (None, [], ())
    ]
    if given:
        raise ValueError(
            f"A run is resumed with the files and settings it has: leave out {', '.join(given)}."
        )
