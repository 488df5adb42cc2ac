"""Training curves, from each run's `metrics.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.style import BLUE, GREEN, GRID, ORANGE, VERMILLION, DrawnFigure
from stfmri.evidence.summary import Results
from stfmri.evidence.tallies import RunRecord

# What is drawn of a large sweep.
MOST_CURVES = 12


def training_curves(results: Results) -> DrawnFigure | None:
    """Training loss by epoch, one panel a variant, one line a fold; None without any record."""
    names = [summary.tally.name for summary in results.ranked()]
    labels = {summary.tally.name: summary.tally.label for summary in results.variants}
    curves: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
    for name in names[:MOST_CURVES]:
        found = [_loss_curve(record) for record in _records(results, name)]
        if any(curve is not None for curve in found):
            curves[name] = [curve for curve in found if curve is not None]
    if not curves:
        return None
    columns = min(len(curves), 3)
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.0 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        axes.set_visible(number < len(curves))
    for axes, (name, folds) in zip(grid.flat, curves.items(), strict=False):
        for fold, (epochs, losses) in enumerate(folds):
            colour = (BLUE, VERMILLION, GREEN, ORANGE)[fold % 4]
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, losses, color=colour, linewidth=1.3, alpha=0.85, marker=marker)
        axes.set_title(labels[name], fontsize=9)
        axes.grid(color=GRID, linewidth=0.8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("Epoch", fontsize=9)
    figure.supylabel("Training loss", fontsize=9)
    return DrawnFigure(
        "training_curves",
        "Training loss",
        "One line a fold. A loss still falling at the end asks for more epochs.",
        figure,
    )


def _records(results: Results, variant: str) -> list[RunRecord]:
    return [record for record in results.evidence.records if record.run.variant == variant]


def _loss_curve(record: RunRecord) -> tuple[FloatArray, FloatArray] | None:
    """Epochs and training losses of a run; None where it recorded none."""
    path: Path = record.run.folder / "metrics.csv"
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows: list[Mapping[str, str]] = list(csv.DictReader(lines))
        epochs = np.array([float(row["epoch"]) for row in rows])
        losses = np.array([float(row["train_loss"]) for row in rows])
    except (KeyError, TypeError, ValueError, csv.Error):
        # A record cut off by a kill is drawn by no one; the run's predictions do not depend on it.
        return None
    return (epochs, losses) if len(rows) else None
