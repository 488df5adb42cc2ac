"""Figures: one record each, drawn from plain estimates and predictions."""

from stfmri.evidence.figures.inputs import Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.registry import FIGURES, draw_all
from stfmri.evidence.figures.style import to_pdf, to_png, to_svg

__all__ = [
    "FIGURES",
    "Drawable",
    "DrawnFigure",
    "FigureKind",
    "draw_all",
    "to_pdf",
    "to_png",
    "to_svg",
]
