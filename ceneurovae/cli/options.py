"""Arguments and options that several commands have, each with its help text."""

from pathlib import Path
from typing import Annotated, Any

import typer


def option(text: str, **settings: Any) -> Any:
    """An option of Typer with a help text, named after the parameter that it annotates."""
    return typer.Option(help=text, **settings)


Files = Annotated[
    list[Path],
    typer.Argument(help="Files, folders, or patterns such as 'data/*.h5'.", show_default=False),
]
RunPath = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]

AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Backend = Annotated[
    str | None,
    option("jax, tensorflow or torch.", show_default="KERAS_BACKEND, or the fastest"),
]
Out = Annotated[Path, option("HDF5 file to write.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Show no progress, and say nothing but results and warnings."),
]

# How files are read: the fields of `ReadOptions`.
Layout = Annotated[
    str | None,
    option("Layout of the files.", show_default="the first that fits"),
]
Transpose = Annotated[bool, option("The axes of time and channels are the other way round.")]
MinLikelihood = Annotated[float, option("Points of a pose less likely than this are missing.")]
AllowExternal = Annotated[bool, option("Let a file fetch data from other files.")]

# How windows are gone through.
MEMORY = "What may be held in memory; the rest is streamed."
MemoryGB = Annotated[float | None, option(MEMORY, show_default="a quarter of it")]
MemoryGBQuarter = Annotated[float | None, option(MEMORY, show_default="0.25")]
BatchSize = Annotated[int, option("Windows at a time.")]
STRIDE = "Samples from one window's start to the next."
Stride = Annotated[int, option(STRIDE)]
TraceStride = Annotated[int | None, option(STRIDE, show_default="a quarter of a window")]
REFINE = "Steps in which latents are refined on the decoder."
Refine = Annotated[int | None, option(REFINE, show_default="as chosen in training")]
RefineTen = Annotated[int | None, option(REFINE, show_default="10")]
