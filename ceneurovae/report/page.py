"""The report of a run as one HTML page, which asks nothing of the network."""

import html
import json
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ceneurovae
from ceneurovae.hints import JSON, PathLike
from ceneurovae.report import captions, interactive
from ceneurovae.report.data import ReportData, gather
from ceneurovae.report.figure_files import as_inline_svg, available_figures
from ceneurovae.report.figures import channel_scores
from ceneurovae.run_folder import RunFolder
from ceneurovae.splits import Splits
from ceneurovae.tracking import working
from ceneurovae.whole_file import refuse_folder, whole_file

if TYPE_CHECKING:
    from ceneurovae.model import NeuroBehaviorVAE

MOST_ROWS = 500
# Plots that are pictures in the page; the others can be zoomed and turned.
PICTURES = (
    *("timeline", "learning_curves", "reconstructions", "latents", "null_control", "decoding"),
)
METHOD_NAMES = {"vae": "VAE", "ppca": "probabilistic PCA"}


def write_report(
    run: PathLike,
    out: PathLike | None = None,
    figures: PathLike | None = None,
    splits: Splits | None = None,
) -> Path:
    """Writes everything about a run into one HTML page, that is looked at offline.

    It holds the verdict and the scores; the data and its splits on a time line; learning curves;
    reconstructions of test windows; R2 of each channel beside PCA; the use of the latents; latents
    over time and as a scatter; controls, as far as they were run; and environment and command.

    Args:
        run: Run folder. It is evaluated first, if it was not.
        out: File to write; by default `report.html` in the run folder. It is replaced.
        figures: Folder to write each plot to, too, as SVG and PNG; see `write_figures`.
        splits: The run's `Splits`; by default its files are read again.

    Returns:
        Path of the page.

    Raises:
        ImportError: if what it takes is not installed.
        FileNotFoundError, ValueError: if there is no run or no model in it, or its files are not
            what they were.
    """
    run = RunFolder(run)
    out = run.path / "report.html" if out is None else Path(out)
    refuse_folder(out)
    plotly = interactive.packed_plotly()
    environment = _jinja()
    model = run.load_model()
    data = gather(run.path, model, splits)
    with working("Drawing"):
        if figures is not None:
            from ceneurovae.report.figure_files import write_figures

            write_figures(data, figures)
        page = _render(environment, data, _explorer(model, data), plotly)
    with whole_file(out, parents=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _jinja() -> Any:
    """The Jinja environment that escapes whatever it is given, unless it is marked as HTML."""
    try:
        import jinja2
    except ImportError as error:
        raise ImportError("jinja2 is not installed: pip install 'ceneurovae[report]'.") from error
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, undefined=jinja2.ChainableUndefined
    )


def _file(name: str) -> str:
    return files("ceneurovae.report").joinpath(name).read_text(encoding="utf-8")


def _render(environment: Any, data: ReportData, explorer: str, plotly: str) -> str:
    from markupsafe import Markup

    said = captions.captions(data)
    pictures = {
        name: Markup(as_inline_svg(draw(), name, html.escape(said[name])))
        for name, draw in available_figures(data).items()
        if name in PICTURES
    }
    names, scores = channel_scores(data)
    plots = {
        "channels": interactive.channel_figure(data),
        "trajectories": interactive.trajectory_figure(data),
        "scatter": interactive.scatter_data(data),
    }
    imputation = data.metrics["test"].get("imputation") or {}
    return environment.get_template("page.html").render(
        version=ceneurovae.__version__,
        data=data,
        css=Markup(_file("page.css")),
        js=Markup(_file("page.js")),
        plotly=Markup(plotly),
        plots=Markup(as_script_data(plots)),
        explorer=Markup(explorer),
        pictures=pictures,
        captions=said,
        sections=_sections(pictures, data, explorer),
        gap=captions.describe_gap(data),
        most_rows=MOST_ROWS,
        channel_names=names[:MOST_ROWS],
        channel_scores={
            name: [None if np.isnan(value) else value for value in values]
            for name, values in scores.items()
        },
        imputers=_methods(imputation),
        method_names=METHOD_NAMES,
        command=describe_command(data.environment["command"]),
        environment=_environment_rows(data),
        settings=_setting_rows(data),
    )


def _explorer(model: "NeuroBehaviorVAE", data: ReportData) -> str:
    """The section in which latents are moved."""
    from ceneurovae.report.explorer import explorer_section

    windows = data.windows
    names = [
        f"{windows.names[recording]}, {start / data.rate_hz:.1f}"
        for recording, start in zip(windows.recording, windows.start, strict=True)
    ]
    return explorer_section(
        model,
        (windows.mu, windows.logvar),
        data.channels,
        rate_hz=data.recordings[0].rate_hz,
        observed=windows.observed,
        names=names,
    )


def _sections(pictures: dict[str, Any], data: ReportData, explorer: str) -> list[tuple[str, str]]:
    """Identifiers and titles of the sections that the page has."""
    titles = {
        "verdict": "Verdict",
        "data": "Data",
        "learning": "Learning curves" if "learning_curves" in pictures else None,
        "reconstructions": "Reconstructions",
        "channels": "Channels",
        "latents": "Use of the latents",
        "trajectories": "Latents over time",
        "scatter": "Latent space",
        "explorer": "Latent explorer" if explorer else None,
        "null": "Null control" if data.null or data.seeds else None,
        "decoding": "Decoding" if "decoding" in pictures else None,
        "environment": "Environment",
    }
    return [(key, title) for key, title in titles.items() if title is not None]


def as_script_data(content: Any) -> str:
    """JSON that can stand in a `<script>`: no name in it can end the element.

    >>> as_script_data({"channel": "</script>"})
    '{"channel":"\\\\u003c/script>"}'
    """
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _methods(imputation: JSON) -> list[str]:
    """Methods of filling in, in the order in which they appear; coverage, which is no R2, last."""
    methods = list(dict.fromkeys(method for row in imputation.values() for method in row))
    return sorted(methods, key=lambda method: method == "coverage")


def describe_command(arguments: Sequence[str]) -> str:
    """What was typed, from `sys.argv`.

    >>> describe_command(["/usr/lib/ceneurovae/__main__.py", "train", "my file.h5"])
    "ceneurovae train 'my file.h5'"
    """
    program, *others = arguments or [""]
    path = Path(program)
    own = path.name == "ceneurovae" or path.parts[-2:] == ("ceneurovae", "__main__.py")
    return shlex.join(["ceneurovae" if own else program, *map(str, others)])


def _environment_rows(data: ReportData) -> list[tuple[str, Any]]:
    found = data.environment
    rows = [
        ("backend", found["backend"]),
        ("devices", ", ".join(found.get("devices") or []) or "not known"),
        ("seed", found.get("seed")),
        ("Python", found["python"]),
        ("platform", found["platform"]),
        ("git revision", found.get("git") or "none"),
    ]
    rows += [(name, version) for name, version in found["versions"].items() if version]
    for file in found.get("files", [])[:MOST_ROWS]:
        size = "no longer there" if file["bytes"] is None else f"{file['bytes']} bytes"
        digest = f", sha256 {file['sha256']}" if file["sha256"] else ""
        rows.append((file["path"], size + digest))
    return rows


def _setting_rows(data: ReportData) -> list[tuple[str, str]]:
    """Settings of model and training, and what was chosen on validation data."""
    parts = {**data.settings, "chosen on validation data": data.choices or {}}
    rows = []
    for part, settings in parts.items():
        for name, value in settings.items():
            if name == "channel_groups" and value:
                value = ", ".join(dict.fromkeys(value))
            rows.append((f"{part}: {name}", json.dumps(value)))
    return rows
