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
    fields["hide"] = () if given["hide"] is None else given["hide"].split(",")
    VAEConfig(**fields, channel_groups=("any", "other"))  # says what is wrong before files are read
    splits = load_splits(
        probed(given["files"], options),
        None if given["channels"] is None else given["channels"].split(","),
        given["seq_len"],
        **{name: given[name] for name in (*SPLITTING, "align", "resample_hz", "memory_gb")},
        **dataclasses.asdict(options),
    )
    return splits, VAEConfig(**fields, channel_groups=groups_of(splits.train.channels))
