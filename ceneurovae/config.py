"""The model's settings: frozen, validated, and the same after a trip through JSON."""

import dataclasses
import json
import numbers

BACKBONES = ("conv", "gru", "transformer")
RECONSTRUCTION_LOSSES = ("mse", "huber")
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
        backbone: `"conv"` (dilated residual convolutions), `"gru"` or `"transformer"`.
        num_heads: Attention heads, for the transformer only; divides `hidden_dim`.
        positional_encoding: `"sinusoidal"` or `"learned"`.
        reconstruction_loss: `"mse"` or `"huber"`, on scaled values.
        huber_delta: Error, in standard deviations of the channel, above which the Huber loss
            is linear.
        reduction: `"sum"` or `"mean"` of the reconstruction loss over the observed `(T, C)`
            entries of a window. The ELBO is a sum; with `"mean"` the same KL weight counts
            `T * C` times as much.

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
    num_layers: int = 2
    dropout: float = 0.1
    backbone: str = "conv"
    num_heads: int = 4
    positional_encoding: str = "sinusoidal"
    reconstruction_loss: str = "mse"
    huber_delta: float = 1.0
    reduction: str = "sum"

    def __post_init__(self):
        for name in ("seq_len", "latent_dim", "hidden_dim", "num_layers", "num_heads"):
            self._require_positive_integer(name)
        if self.channels is not None:
            self._require_positive_integer("channels")
        self._require_number("dropout", "in [0, 1)", lambda value: 0 <= value < 1)
        self._require_number("huber_delta", "above 0", lambda value: 0 < value < float("inf"))
        self._require_choice("backbone", BACKBONES)
        self._require_choice("positional_encoding", POSITIONAL_ENCODINGS)
        self._require_choice("reconstruction_loss", RECONSTRUCTION_LOSSES)
        self._require_choice("reduction", REDUCTIONS)
        if self.positional_encoding == "sinusoidal" and self.hidden_dim % 2:
            raise ValueError(
                f"hidden_dim is {self.hidden_dim}, but the sinusoidal positional encoding pairs a "
                "sine with a cosine. Use an even hidden_dim or positional_encoding='learned'."
            )
        if self.backbone == "transformer" and self.hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim is {self.hidden_dim}, which {self.num_heads} attention heads cannot "
                "share equally. Use a hidden_dim that is a multiple of num_heads."
            )

    def _require_positive_integer(self, name):
        value = getattr(self, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1.")
        object.__setattr__(self, name, int(value))

    def _require_number(self, name, expected, valid):
        value = getattr(self, name)
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not valid(value):
            raise ValueError(f"{name} is {value!r}, expected a number {expected}.")
        object.__setattr__(self, name, float(value))

    def _require_choice(self, name, choices):
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}.")

    def to_dict(self):
        """The fields as a dictionary of JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields):
        """The inverse of `to_dict`; an unknown field is a `ValueError`."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(
                f"VAEConfig has no field {', '.join(unknown)}. Its fields are {', '.join(known)}."
            )
        return cls(**fields)

    def to_json(self):
        """The fields as one JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text):
        """The inverse of `to_json`."""
        return cls.from_dict(json.loads(text))
