"""The model's settings: frozen, validated, and the same after a trip through JSON."""

import dataclasses
import json
import numbers
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from ceneurovae.hints import JSON

if TYPE_CHECKING:
    from ceneurovae.windows import Windows

BACKBONES = ("mlp", "conv", "gru", "lstm", "transformer", "linear")
RECONSTRUCTION_LOSSES = ("gaussian", "mse", "huber", "poisson", "bernoulli")
NOISES = ("shared", "channel")
SCALES = ("channel", "group", "none")
HIDDEN = ("entries", "spans", "channels", "groups", "end")
REDUCTIONS = ("sum", "mean")
POSITIONAL_ENCODINGS = ("sinusoidal", "learned")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """Settings of a `NeuroBehaviorVAE`.

    Args:
        seq_len: Length `T` of a window, in samples.
        channels: Number `C` of channels. `None` takes it from the first data the model sees.
        latent_dim: Number `Z` of latents.
        hidden_dim: Width of the hidden layers of encoder and decoder.
        num_layers: Hidden layers in the encoder, and as many in the decoder.
        dropout: Share of hidden units dropped in training, in `[0, 1)`.
        backbone: The network beside the linear path: `"mlp"` on the scores of principal
            components; `"conv"` (dilated residual convolutions), `"gru"`, `"lstm"` or
            `"transformer"` on the sequence; `"linear"`, one trained linear map.
        num_heads: Attention heads, for the transformer only; divides `hidden_dim`.
        positional_encoding: `"sinusoidal"` or `"learned"`.
        reconstruction_loss: `"gaussian"` (a noise level that is learned), `"mse"` or `"huber"`, on
            scaled values; `"poisson"` on counts, `"bernoulli"` on zeros and ones.
        noise: Whether the noise level of `"gaussian"` is `"shared"`, or one for each `"channel"`.
        scale: What a channel is divided by: the standard deviation of each `"channel"`, of its
            `"group"`, or nothing (`"none"`). See `ChannelScaler`.
        channel_groups: The name of each channel's group, `C` of them, for `scale="group"` and for
            hiding groups. `train_run` and the command line take them from the channels' names.
        huber_delta: Error, in standard deviations of the channel, above which the Huber loss
            is linear.
        reduction: `"sum"` or `"mean"` of the reconstruction loss over the observed `(T, C)`
            entries of a window. The ELBO is a sum; with `"mean"` the same KL weight counts
            `T * C` times as much.
        free_bits: Nats of KL, averaged over a batch, that each latent has for nothing.
        capacity: Nats of KL, of all latents together, that training aims at instead of 0.
        augment: Whether training windows are stretched in time and scaled at random, which counts
            and zeros and ones never are.
        encoder_steps: Steps on the decoder that are part of encoding outside training, where a
            network alone is further from the posterior than need be. See `refine_posterior`.
        hide: What is hidden from the encoder in training, to be reconstructed all the same: any of
            `"entries"`, `"spans"`, `"channels"`, `"groups"`, `"end"`. See `Hiding`.
        hide_share: Share of a window that is hidden, about.

    Raises:
        ValueError: if a field cannot be used; the message says what to do.

    Example:

    >>> config = VAEConfig(seq_len=60, channels=3, latent_dim=8)
    >>> VAEConfig.from_json(config.to_json()) == config
    True
    """

    seq_len: int = 100
    channels: int | None = None
    latent_dim: int = 32
    hidden_dim: int = 256
    num_layers: int = 3
    dropout: float = 0.05
    backbone: str = "mlp"
    num_heads: int = 4
    positional_encoding: str = "sinusoidal"
    reconstruction_loss: str = "gaussian"
    noise: str = "shared"
    huber_delta: float = 1.0
    reduction: str = "sum"
    scale: str = "channel"
    channel_groups: tuple[str, ...] | None = None
    free_bits: float = 0.0
    capacity: float = 0.0
    augment: bool = True
    encoder_steps: int = 2
    hide: tuple[str, ...] = ()
    hide_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("seq_len", "latent_dim", "hidden_dim", "num_layers", "num_heads"):
            self._require_whole_number(name)
        if self.channels is not None:
            self._require_whole_number("channels")
        self._require_whole_number("encoder_steps", least=0)
        self._require_number("dropout", "in [0, 1)", lambda value: 0 <= value < 1)
        self._require_number("huber_delta", "above 0", lambda value: 0 < value < float("inf"))
        self._require_choice("backbone", BACKBONES)
        self._require_choice("positional_encoding", POSITIONAL_ENCODINGS)
        self._require_choice("reconstruction_loss", RECONSTRUCTION_LOSSES)
        self._require_choice("reduction", REDUCTIONS)
        self._require_choice("noise", NOISES)
        self._require_choice("scale", SCALES)
        if not isinstance(self.augment, bool):
            raise ValueError(f"augment is {self.augment!r}, expected True or False.")
        self._require_number("free_bits", "of at least 0", lambda value: 0 <= value < float("inf"))
        self._require_number("capacity", "of at least 0", lambda value: 0 <= value < float("inf"))
        self._require_number("hide_share", "in (0, 1)", lambda value: 0 < value < 1)
        self._require_names()
        on_sequences = self.backbone not in ("mlp", "linear")
        if on_sequences and self.positional_encoding == "sinusoidal" and self.hidden_dim % 2:
            raise ValueError(
                f"hidden_dim is {self.hidden_dim}, but the sinusoidal positional encoding pairs a "
                "sine with a cosine. Use an even hidden_dim or positional_encoding='learned'."
            )
        if self.backbone == "transformer" and self.hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim is {self.hidden_dim}, which {self.num_heads} attention heads cannot "
                "share equally. Use a hidden_dim that is a multiple of num_heads."
            )

    def _require_names(self) -> None:
        """Sequences of names, which JSON gives as lists, as tuples."""
        hide = (self.hide,) if isinstance(self.hide, str) else tuple(self.hide)
        unknown = [kind for kind in hide if kind not in HIDDEN]
        if unknown:
            raise ValueError(f"hide has {unknown[0]!r}, expected any of {', '.join(HIDDEN)}.")
        object.__setattr__(self, "hide", hide)
        groups = self.channel_groups
        if groups is None:
            if self.scale == "group" or "groups" in hide:
                needs = "scale='group'" if self.scale == "group" else "hide='groups'"
                raise ValueError(
                    f"{needs} needs channel_groups, the name of the group of each channel. Give "
                    "them, one for each channel."
                )
            return
        groups = tuple(str(group) for group in groups)
        if self.channels is not None and len(groups) != self.channels:
            raise ValueError(
                f"channel_groups has {len(groups)} names for {self.channels} channels. Give one "
                "for each."
            )
        object.__setattr__(self, "channel_groups", groups)

    def _require_whole_number(self, name: str, least: int = 1) -> None:
        value = getattr(self, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}.")
        object.__setattr__(self, name, int(value))

    def _require_number(self, name: str, expected: str, valid: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not valid(value):
            raise ValueError(f"{name} is {value!r}, expected a number {expected}.")
        object.__setattr__(self, name, float(value))

    def _require_choice(self, name: str, choices: Sequence[str]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}.")

    @property
    def maximises_elbo(self) -> bool:
        """Whether training maximises the ELBO of what was observed, and nothing else."""
        return not (self.hide or self.free_bits or self.capacity)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the fields."""
        return [field.name for field in dataclasses.fields(cls)]

    def to_dict(self) -> JSON:
        """The fields as a dictionary of JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: JSON) -> Self:
        """The inverse of `to_dict`.

        Args:
            fields: Values by name.

        Raises:
            ValueError: if a field is unknown or cannot be used.
        """
        known = cls.names()
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(
                f"VAEConfig has no field {', '.join(unknown)}. Its fields are {', '.join(known)}."
            )
        return cls(**fields)

    def to_json(self) -> str:
        """The fields as one JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Args:
            text: A JSON object.
        """
        return cls.from_dict(json.loads(text))


def groups_of(channels: Sequence[str]) -> tuple[str, ...]:
    """The group of each channel: what its name begins with, such as `behavior`.

    >>> groups_of(["neural/AVA", "neural/RIM", "speed"])
    ('neural', 'neural', 'speed')
    """
    return tuple(name.split("/")[0] for name in channels)


def fitted_to(config: VAEConfig, windows: "Windows") -> VAEConfig:
    """A `VAEConfig` with the window length, the channels and the groups of `Windows`."""
    return dataclasses.replace(
        config,
        seq_len=windows.seq_len,
        channels=len(windows.channels),
        channel_groups=config.channel_groups or groups_of(windows.channels),
    )
