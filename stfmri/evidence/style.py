"""How figures look, and how they become bytes: the same figure is the same file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe & Ito's palette: blue, vermillion, green, and a grey for the text.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, FAINT = "#22272e", "#8b949e"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    # A class may be called `$x$`; it is a name, no formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    # Fixed names of clip paths: the same figure is the same file.
    "svg.hashsalt": "stfmri",
}
GRID = "#e6e8eb"


@dataclass(frozen=True)
class DrawnFigure:
    """One figure with its file name and what stands below it."""

    name: str
    title: str
    caption: str
    figure: Figure


def to_png(figure: Figure) -> bytes:
    """Bitmap, 200 dots an inch."""
    return _saved(figure, "png", {"Software": None})


def to_pdf(figure: Figure) -> bytes:
    """Vector graphics for print, without a date."""
    return _saved(figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None})


def to_svg(figure: Figure) -> bytes:
    """Vector graphics for the report, without a date."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def _saved(figure: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    """The bytes of a figure, in the house style."""
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=kind, metadata=dict(metadata))
    return content.getvalue()
