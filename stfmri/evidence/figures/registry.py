"""Which figures there are, the one that people look at first in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib as mpl

from stfmri.evidence.figures import (
    calibration,
    classwise,
    confusion,
    discrimination,
    forest,
    learning_curve,
    precision,
    subgroups,
    training,
)
from stfmri.evidence.figures.inputs import Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import STYLE, settle

FIGURES: tuple[FigureKind, ...] = (
    forest.FOREST,
    learning_curve.LEARNING_CURVE,
    confusion.CONFUSION,
    discrimination.ROC,
    discrimination.PRECISION_RECALL,
    calibration.RELIABILITY,
    classwise.CLASSWISE,
    subgroups.SUBGROUPS,
    precision.PRECISION_PLAN,
    training.TRAINING,
)


def draw_all(drawable: Drawable) -> Iterator[tuple[FigureKind, DrawnFigure]]:
    """Draw one kind after the other."""
    for kind in FIGURES:
        with mpl.rc_context(STYLE):
            drawn = tuple(kind.draw(drawable))
            for one in drawn:
                settle(one.figure)
                if one.narrow is not None:
                    settle(one.narrow)
        for one in drawn:
            yield kind, replace(one, title=one.title + drawable.remarks.get(one.name, ""))
