"""The data of a command line: from its options to splits, and to the model's settings."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ceneurovae.config import VAEConfig
    from ceneurovae.hints import JSON, Paths
    from ceneurovae.readers.options import ReadOptions
    from ceneurovae.splits import Splits


def probed(paths: "Paths", options: "ReadOptions") -> list[Path]:
    """The files that paths stand for, after a look at each that may crash without harm."""
    from ceneurovae.readers import expand_paths
    from ceneurovae.readers.probe import probe

    files = expand_paths(paths)
    probe(files, options)
    return files


def names_in(text: str) -> list[str]:
    """The names that stand in a text with commas between, and perhaps spaces after them.

    >>> names_in("neural, behavior/velocity,")
    ['neural', 'behavior/velocity']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def read_data(given: "JSON") -> "tuple[Splits, VAEConfig]":
    """The `Splits` and the `VAEConfig` that options of the command line ask for.

    Args:
        given: Values of the options of `ceneurovae train` by name.

    Raises:
        FileNotFoundError, ValueError: if a file or an option cannot be used.
    """
    from ceneurovae.config import VAEConfig, groups_of
    from ceneurovae.import_data import SPLITTING, load_splits
    from ceneurovae.readers.options import ReadOptions

    options = ReadOptions(
        **{field.name: given[field.name] for field in dataclasses.fields(ReadOptions)}
    )
    own = {"channels", "seq_len", "channel_groups", "hide"}  # those of the data, and lists
    fields = {name: given[name] for name in VAEConfig.names() if name not in own}
    fields["hide"] = names_in(given["hide"] or "")
    VAEConfig(**fields, channel_groups=("any", "other"))  # says what is wrong before files are read
    channels = None if given["channels"] is None else names_in(given["channels"])
    if channels == []:
        raise ValueError(
            f"channels is {given['channels']!r}, expected names with commas between. "
            "`ceneurovae inspect` lists them."
        )
    splits = load_splits(
        probed(given["files"], options),
        channels,
        given["seq_len"],
        **{name: given[name] for name in (*SPLITTING, "align", "resample_hz", "memory_gb")},
        **dataclasses.asdict(options),
    )
    return splits, VAEConfig(**fields, channel_groups=groups_of(splits.train.channels))
