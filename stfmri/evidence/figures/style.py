"""How figures look, and how they become bytes: the same figure is the same file.

Sizes are those of a journal page, so that nothing is scaled in print: one column is 89 mm wide, two
are 183 mm, and text has 6 to 8 pt.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stfmri.evidence.figures.inputs import Category

MM_PER_INCH = 25.4
MM_PER_POINT = MM_PER_INCH / 72
SINGLE_MM, DOUBLE_MM = 89.0, 183.0
# On a phone a figure of this width is enlarged until its smallest text has 10 pixels.
SCREEN_MM = 80.0
# A page with its caption holds no more.
MOST_HEIGHT_MM = 240.0

SMALL, NORMAL, LARGE = 6.0, 7.0, 8.0  # pt
# Mean width of a letter of DejaVu Sans, of its size.
LETTER, BOLD = 0.58, 0.66

# Okabe & Ito's palette, which colour-blind readers tell apart.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE = "#56B4E9", "#CC79A7"
INK, SOFT, FAINT, GRID = "#22272e", "#57606a", "#8b949e", "#e6e8eb"
# From white to dark: darker is more in grey, too.
SHADES = "Blues"

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    # The first comes with matplotlib, so that a figure is the same on every machine. The others are
    # what a browser shows where it is missing; they are narrower, so nothing collides.
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.titleweight": "bold",
    "axes.titlepad": 4,
    "axes.labelsize": NORMAL,
    "axes.labelpad": 2.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.6,
    "lines.linewidth": 1.0,
    "text.color": INK,
    # Letters are as wide in a browser and in print as where the layout measured them.
    "text.hinting": "none",
    # A class may be called `$x$`; it is a name, no formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
    # Text stays text: searchable, and editable by the journal.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    # Fixed names of clip paths: the same figure is the same file.
    "svg.hashsalt": "stfmri",
}


@dataclass(frozen=True)
class Look:
    """How a category is drawn wherever it appears."""

    colour: str
    marker: str
    dashes: Any = "-"


LOOKS: Mapping[Category, Look] = {
    Category.NETWORK: Look(BLUE, "o"),
    Category.IMAGES: Look(VERMILLION, "s", (0, (4, 1.2, 1, 1.2))),
    Category.LOOKUP: Look(ORANGE, "^", (0, (1, 1))),
    Category.CONTROL: Look(SOFT, "X", (0, (1, 2.5))),
}
# Of several networks in one panel, the best first.
NETWORK_LOOKS = (
    Look(BLUE, "o"),
    Look(GREEN, "D", (0, (5, 1.5))),
    Look(PURPLE, "v", (0, (2, 1))),
)


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure of exactly this size, whose parts make room for one another."""
    inches = (width_mm / MM_PER_INCH, height_mm / MM_PER_INCH)
    return Figure(figsize=inches, layout="constrained")


def panels(
    figure: Figure, count: int, columns: int, *, sharex: bool = True, sharey: bool = True
) -> list[Axes]:
    """`count` panels in rows of `columns`; what is left of the last row stays empty."""
    lines = -(-count // columns)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return list(grid.flat[:count])


def label_outer(drawn: Sequence[Axes], columns: int, x_label: str, y_label: str) -> None:
    """Name the axes of the panels that have none below or to the left of them."""
    for axes in drawn[-columns:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(x_label)
    for axes in drawn[::columns]:
        axes.set_ylabel(y_label)


def settle(figure: Figure) -> None:
    """Give every part its place, once and for all: each format then has the same."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    # None, not "none": with a placeholder for an engine, saving would draw everything twice.
    figure.set_layout_engine(None)


def wrapped(name: str, letters: int, lines: int = 2) -> str:
    """A name in at most so many lines of at most so many letters.

    One that does not fit loses its middle: variants often differ at their ends.
    """
    letters = max(letters, 4)
    for kept in range(len(name), 0, -1):
        shortened = name
        if kept < len(name):
            head = -(-kept // 2)
            shortened = f"{name[:head].rstrip()}…{name[len(name) - kept + head :].lstrip()}"
        # `pre-trained` stays whole, `r3d_18-scratch-lr0.001` need not.
        on_hyphens = max(map(len, shortened.split()), default=0) > letters
        found = textwrap.wrap(shortened, letters, break_on_hyphens=on_hyphens)
        if len(found) <= lines:
            return "\n".join(found)
    return name


def letters_in(width_mm: float, size: float = NORMAL, *, is_bold: bool = False) -> int:
    """How many letters of `size` points stand side by side in a width."""
    letter = (BOLD if is_bold else LETTER) * size * MM_PER_POINT
    return max(4, int(width_mm / letter))


def width_of(text: str, size: float) -> float:
    """About how many millimetres the longest line of a text takes."""
    return max(map(len, text.split("\n"))) * LETTER * size * MM_PER_POINT


def to_png(figure: Figure) -> bytes:
    """Bitmap, 300 dots an inch."""
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
