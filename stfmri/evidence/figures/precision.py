"""The precision plan: how narrow the interval would be with how many patients."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from stfmri.evidence.figures.inputs import Drawable, PrecisionPlan
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import BLUE, INK, SINGLE_MM, SOFT, VERMILLION, new_figure

# From this ratio of largest to smallest number of patients on, the axis is logarithmic.
WIDE_RANGE = 15


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """The figure; none without a plan."""
    if drawable.precision is None or not len(drawable.precision.patients):
        return
    yield DrawnFigure(
        "precision_plan",
        "Precision by number of patients",
        f"Half the width of the 95 % interval of {drawable.metric_label} that a study of so many "
        "patients can expect; the mark is the present study.",
        _figure(drawable.precision, drawable.metric_label),
    )


PRECISION_PLAN = FigureKind("precision_plan", "Precision", draw)


def _figure(plan: PrecisionPlan, metric_label: str) -> Figure:
    figure = new_figure(SINGLE_MM, 58)
    axes = figure.subplots()
    axes.set_label("precision plan")
    axes.plot(plan.patients, plan.half_width, color=BLUE, label="Expected")
    axes.plot(
        [plan.present_patients],
        [plan.present_half_width],
        linestyle="none",
        marker="D",
        markersize=5,
        color=VERMILLION,
        markeredgecolor="white",
        markeredgewidth=0.6,
        clip_on=False,
        zorder=4,
        label="Present study",
    )
    axes.annotate(
        f"{plan.present_patients:,.0f} patients: ± {plan.present_half_width:.3f}",
        (plan.present_patients, plan.present_half_width),
        xytext=(6, 5),
        textcoords="offset points",
        color=INK,
    )
    numbers = [*plan.patients, plan.present_patients]
    if max(numbers) > WIDE_RANGE * min(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(bottom=0, top=1.08 * max(*plan.half_width, plan.present_half_width))
    axes.set_xlabel("Patients")
    axes.set_ylabel(f"Half-width ({metric_label})", color=INK)
    axes.grid()
    axes.legend(loc="upper right", labelcolor=SOFT)
    return figure
