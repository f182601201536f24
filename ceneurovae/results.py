"""What an evaluation finds, as types with attributes and as a JSON document.

Errors are of scaled values, over observed entries. `None` stands for what is not defined, such as
R2 where nothing varies; fields that default to `None` are left out of the document then.
"""

import dataclasses
import math
from typing import Any, Self

from ceneurovae.hints import JSON
from ceneurovae.verdict import Verdict

VERSION = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelScores:
    """How well one channel is reconstructed.

    Args:
        name: That of the channel.
        r2: `1 - SSE / SST`, with SST about the channel's mean over these windows.
        mse: Mean squared error.
        missing: Share of its entries that were not observed.
    """

    name: str
    r2: float | None
    mse: float | None
    missing: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How well windows are reconstructed.

    Args:
        r2: `1 - SSE / SST`, with SST about each channel's mean over these windows.
        skill: `1 - SSE / SSE0`, with SSE0 that of predicting the training mean. It is larger than
            `r2` where these windows have drifted away from the training data.
        mse: Mean squared error.
        huber: Mean Huber loss, with the `HUBER_DELTA` of `model.loss`.
        per_channel: `ChannelScores` of each channel.
        latents_r2: Where true latents are known, how well they can be read from the codes:
            `readout_r2` by name of the readout and of the latent.
    """

    r2: float | None
    skill: float | None
    mse: float | None
    huber: float | None
    per_channel: tuple[ChannelScores, ...]
    latents_r2: JSON | None = None

    @classmethod
    def from_json(cls, content: JSON) -> Self:
        """The inverse of `Evaluation.to_json`, for this part of it."""
        rows = tuple(ChannelScores(**row) for row in content["per_channel"])
        return cls(**{**content, "per_channel": rows})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbabilisticReconstruction(Reconstruction):
    """That of a method whose likelihood is known.

    Args:
        elbo: Its exact log-likelihood, nats per window: what an ELBO would be at best. `None`
            unless the model beside it has a Gaussian likelihood, whose ELBO is of the same kind.
    """

    elbo: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitScores(Reconstruction):
    """How good a model is on some windows. `r2` and so on are of the encoder alone.

    Args:
        seen_in_training: Whether the model was trained on these windows. After `train(refit=True)`
            that is so of validation windows as well.
        num_windows: How many were scored.
        num_disjoint: How many windows that share no sample fit into the samples of the split;
            `None` where it is not known which samples they are.
        elbo: Mean per window, over `iwae_samples` draws of the latents, with KL weight 1. In nats
            where the likelihood is.
        iwae: The tighter bound over the same draws (Burda, Grosse & Salakhutdinov, "Importance
            weighted autoencoders", 2016, equation 8).
        iwae_samples: `K`, the number of draws.
        kl: KL divergence of the posterior from the prior, nats per window.
        kl_per_latent: The same of each latent.
        active_units: Latents whose mean has a variance over windows of more than 0.01 (same paper,
            section 5.2).
        aggregate_mean, aggregate_std: Mean and standard deviation of each latent under the mixture
            of the posteriors of all windows, which is to be the prior: 0 and 1.
        bits_per_sample: Minus `elbo` in bits per observed entry, where the likelihood is in nats.
        refined: The reconstruction from refined latents, where it was asked for.
        imputation: As of `score_imputation`, where it was asked for.
    """

    seen_in_training: bool
    num_windows: int
    num_disjoint: int | None = None
    elbo: float | None
    iwae: float | None
    iwae_samples: int
    kl: float | None
    kl_per_latent: tuple[float, ...]
    active_units: int
    aggregate_mean: tuple[float, ...]
    aggregate_std: tuple[float, ...]
    bits_per_sample: float | None = None
    refined: Reconstruction | None = None
    imputation: JSON | None = None

    @classmethod
    def from_json(cls, content: JSON) -> Self:
        content = dict(content)
        for name in ("kl_per_latent", "aggregate_mean", "aggregate_std"):
            content[name] = tuple(content[name])
        if "refined" in content:
            content["refined"] = Reconstruction.from_json(content["refined"])
        return super().from_json(content)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baselines:
    """Simple methods on the windows of `Evaluation.test`, fitted to the training windows.

    Args:
        pca: Principal components of whole windows, as many as latents, missing entries at the mean.
        ppca: Probabilistic PCA, the conditional mean given what was observed.
        mean: The training mean of each channel.
    """

    pca: Reconstruction
    ppca: ProbabilisticReconstruction
    mean: Reconstruction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` finds.

    Args:
        split: What `test` is of: `"test"`, or `"valid"` where a run set no test data aside.
        channels: Their names.
        refine: Steps of refinement in `refined`.
        test: Scores of windows that were held out, unless it is `seen_in_training`.
        validation, train: The same of validation and training windows, where they were given: of at
            most 1000 evenly spaced ones, without imputation.
        baselines: Where training windows were given.
        network: How much the decoder's network counts beside the linear path, from 0 to 1, as it
            was chosen on validation data.
        verdict: What is wrong, in plain sentences; one that says so where nothing is.
    """

    split: str
    channels: tuple[str, ...]
    refine: int
    test: SplitScores
    validation: SplitScores | None = None
    train: SplitScores | None = None
    baselines: Baselines | None = None
    network: float | None = None
    verdict: tuple[Verdict, ...] = ()

    def to_json(self) -> JSON:
        """The document: a dictionary of JSON types, with its `version`."""
        return {"version": VERSION, **_plain(self)}

    @classmethod
    def from_json(cls, content: JSON) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: if the document is of another version.
        """
        content = dict(content)
        version = content.pop("version", None)
        if version != VERSION:
            raise ValueError(
                f"The evaluation is of version {version}, expected {VERSION}. Evaluate again: "
                "ceneurovae evaluate RUN"
            )
        for name in ("test", "validation", "train"):
            if name in content:
                content[name] = SplitScores.from_json(content[name])
        if "baselines" in content:
            found = content["baselines"]
            content["baselines"] = Baselines(
                pca=Reconstruction.from_json(found["pca"]),
                ppca=ProbabilisticReconstruction.from_json(found["ppca"]),
                mean=Reconstruction.from_json(found["mean"]),
            )
        content["channels"] = tuple(content["channels"])
        content["verdict"] = tuple(Verdict(**row) for row in content["verdict"])
        return cls(**content)


def _plain(value: Any) -> Any:
    """Dataclasses, tuples, dictionaries and numbers as JSON types."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) is not None or field.default is not None
        }
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
