"""How a figure appears in the report: as wide as the page, and in narrow columns on a phone."""

from __future__ import annotations

import base64
from html import escape

from stfmri.evidence.figures.record import DrawnFigure
from stfmri.evidence.figures.style import MM_PER_INCH, to_svg

# A figure of one column is as large, of its size in print, as one that fills the page.
SCALE = 1.45
CSS_PER_MM = 96 / MM_PER_INCH
# Screens below this width, in CSS pixels, get the narrow figure.
NARROW_BELOW = 640


def picture(drawn: DrawnFigure) -> str:
    """The figure as an HTML `<picture>` that holds its images.

    Args:
        drawn: the figure; where it has a narrow one, a narrow screen shows that.

    Returns:
        HTML, its texts escaped.
    """
    width = drawn.figure.get_figwidth() * MM_PER_INCH * CSS_PER_MM * SCALE
    source = (
        f'<source media="(max-width: {NARROW_BELOW}px)" srcset="{_data_uri(to_svg(drawn.narrow))}">'
        if drawn.narrow is not None
        else ""
    )
    return (
        f'<picture>{source}<img alt="{escape(drawn.title)}" '
        f'style="width: 100%; max-width: {width:.0f}px; height: auto" '
        f'src="{_data_uri(to_svg(drawn.figure))}"></picture>'
    )


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
