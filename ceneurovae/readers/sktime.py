"""Text files `.ts` of the time series archives: one series a line, of any length.

Bagnall et al., "The UEA multivariate time series classification archive", 2018: channels are
divided by `:`, samples by `,`, and the last field is the class.
"""

from pathlib import Path

import numpy as np

from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.source import Block, Source

NAME = "ts"
START = ("#", "@")


def matches(path: Path) -> bool:
    """Whether the lines before `@data` are notes and properties."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.strip().lower() == "@data":
                return True
            if line.strip() and not line.startswith(START):
                return False
    return False


def sources(path: Path, stem: str, options: ReadOptions) -> list[Source]:
    """One recording per line, named `file/number`; its class is the label `class`.

    `?` and `NaN` mean missing. Channels are numbered.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file]
    heads = [line.lower().split() for line in lines if line.startswith("@")]
    labelled = any(head[:2] == ["@classlabel", "true"] for head in heads)
    if ["@timestamps", "true"] in heads:
        raise ValueError(f"'{path}' has a time stamp at every sample, which is not supported.")
    data = [line for line in lines[[line.lower() for line in lines].index("@data") + 1 :] if line]
    width = len(str(len(data)))
    return [
        _source(f"{stem}/{number:0{width}}", line, labelled, path)
        for number, line in enumerate(data, start=1)
    ]


def _source(name: str, line: str, labelled: bool, path: Path) -> Source:
    fields = line.split(":")
    labels = {"class": fields.pop()} if labelled else {}
    try:
        series = [
            np.array(field.replace("?", "nan").split(","), dtype="float32") for field in fields
        ]
        values = np.stack(series, axis=1)
    except ValueError as error:
        raise ValueError(
            f"'{path}', series {name.split('/')[-1]}: its channels are no numbers, or differ in "
            f"length: {error}."
        ) from error
    return Source(name, (Block.of("data", values),), default=("data",), labels=labels)
