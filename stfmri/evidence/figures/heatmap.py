"""A heat map with a text in each cell, black or white, whichever can be read better."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from stfmri.evidence.figures.style import SHADES, SMALL, SOFT
from stfmri.evidence.metrics.record import FloatArray


def heatmap(axes: Axes, share: FloatArray, text: Sequence[Sequence[str]]) -> None:
    """Shade cells from 0 to 1 and print a text in each.

    Args:
        axes: an empty panel.
        share: shape (rows, columns), in [0, 1]; a NaN stays white.
        text: the same shape; a dash takes the place of an empty text of a NaN.
    """
    sns.heatmap(
        share,
        ax=axes,
        vmin=0.0,
        vmax=1.0,
        cmap=SHADES,
        cbar=False,
        linewidths=0.6,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
    )
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(share):
        written = axes.text(
            column + 0.5,
            row + 0.5,
            text[row][column] or ("–" if np.isnan(value) else ""),
            ha="center",
            va="center",
            fontsize=SMALL,
            linespacing=1.05,
            color=SOFT if np.isnan(value) else _readable(value),
        )
        # It lies inside the panel, so that there is no room to make for it.
        written.set_in_layout(False)


def _readable(share: float) -> str:
    """Black or white, whichever stands out more from a shade.

    By the contrast ratio of WCAG 2.2, (L1 + 0.05) / (L2 + 0.05) of relative luminances.
    """
    shade = _luminance(mpl.colormaps[SHADES](share)[:3])
    return "black" if (shade + 0.05) / 0.05 >= 1.05 / (shade + 0.05) else "white"


def _luminance(rgb: Sequence[float]) -> float:
    channels = np.asarray(rgb)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
