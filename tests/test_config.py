import dataclasses

import pytest

from ceneurovae import VAEConfig


def test_defaults():
    config = VAEConfig()
    assert (config.seq_len, config.latent_dim, config.hidden_dim) == (100, 32, 256)
    assert (config.num_layers, config.dropout, config.backbone) == (3, 0.05, "mlp")
    assert config.channels is None


def test_is_the_same_after_json():
    config = VAEConfig(
        seq_len=60,
        channels=3,
        backbone="gru",
        huber_delta=2,
        dropout=0,
        hide=["end", "groups"],
        channel_groups=["a", "a", "b"],
    )
    assert VAEConfig.from_json(config.to_json()) == config
    assert isinstance(config.dropout, float)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        VAEConfig().seq_len = 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seq_len": 0}, "seq_len is 0, expected a whole number of at least 1"),
        ({"channels": 2.5}, "channels is 2.5, expected a whole number"),
        ({"latent_dim": True}, "latent_dim is True, expected a whole number"),
        ({"hidden_dim": "8"}, "hidden_dim is '8', expected a whole number"),
        ({"num_layers": -1}, "num_layers is -1, expected a whole number"),
        ({"num_heads": 0}, "num_heads is 0, expected a whole number"),
        ({"dropout": 1.0}, r"dropout is 1.0, expected a number in \[0, 1\)"),
        ({"huber_delta": 0}, "huber_delta is 0, expected a number above 0"),
        ({"huber_delta": float("nan")}, "huber_delta is nan, expected a number above 0"),
        ({"backbone": "cnn"}, "backbone is 'cnn', expected one of mlp, conv, gru"),
        ({"positional_encoding": 1}, "positional_encoding is 1, expected one of sinusoidal"),
        ({"reconstruction_loss": "mae"}, "reconstruction_loss is 'mae', expected one of gauss"),
        ({"reduction": "none"}, "reduction is 'none', expected one of sum, mean"),
        ({"hidden_dim": 7, "backbone": "gru"}, "hidden_dim is 7, but .* Use an even hidden_dim"),
        ({"backbone": "transformer", "hidden_dim": 10}, "multiple of num_heads"),
        ({"noise": "loud"}, "noise is 'loud', expected one of shared, channel"),
        ({"scale": "all"}, "scale is 'all', expected one of channel, group, none"),
        ({"scale": "group"}, "scale='group' needs channel_groups"),
        ({"hide": ("groups",)}, "hide='groups' needs channel_groups"),
        ({"hide": ("words",)}, "hide has 'words', expected any of entries, spans"),
        ({"channels": 3, "channel_groups": ("a",)}, "channel_groups has 1 names for 3 channels"),
        ({"free_bits": -1}, "free_bits is -1, expected a number of at least 0"),
        ({"capacity": -1}, "capacity is -1, expected a number of at least 0"),
        ({"hide_share": 1}, r"hide_share is 1, expected a number in \(0, 1\)"),
        ({"encoder_steps": -1}, "encoder_steps is -1, expected a whole number of at least 0"),
        ({"augment": 2}, "augment is 2, expected True or False"),
    ],
)
def test_a_bad_field_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        VAEConfig(**fields)


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match="no field latents. Its fields are seq_len"):
        VAEConfig.from_dict({"latents": 3})
