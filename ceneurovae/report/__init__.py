"""What a run shows of itself: one HTML page that needs no network, and figures for papers.

    from ceneurovae import report

    report.write_report("runs/worm")  # runs/worm/report.html
    data = report.gather("runs/worm")
    figure = report.plot_latents(data)  # a matplotlib figure
    report.write_figures(data, "figures")  # each as SVG and PNG

Names are imported when they are first used: matplotlib and Plotly are extras.
"""

import importlib
from typing import Any

_HOMES = {
    "data": ("ReportData", "gather"),
    "figures": (
        "plot_timeline",
        "plot_learning_curves",
        "plot_reconstructions",
        "plot_channel_r2",
    ),
    "latent_figures": ("plot_latents", "plot_trajectories", "plot_scatter"),
    "control_figures": ("plot_null_control", "plot_decoding"),
    "figure_files": ("write_figures",),
    "page": ("write_report",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ceneurovae.report' has no attribute '{name}'")
    try:
        home = importlib.import_module(f"ceneurovae.report.{_HOME_OF[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise ImportError(
            "matplotlib is not installed: pip install 'ceneurovae[report]'."
        ) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
