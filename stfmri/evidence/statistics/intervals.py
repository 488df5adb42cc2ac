"""Two intervals of a score, Wilson's for plain proportions, and what more patients would bring.

A report must say which of two questions an interval answers:

- *these trained networks* on new patients: `networks_interval`, the draws over patients alone;
- the *training procedure* at this size of training set, with other patients to train on, other
  initial weights: `procedure_interval`, the same draws plus the excess variance over folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from statsmodels.stats.proportion import proportion_confint

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.bootstrap import SEED, interval
from stfmri.evidence.statistics.procedure import ProcedureVariance, procedure_noise

LEVEL = 0.95


def networks_interval(scores: npt.ArrayLike, draws: FloatArray, level: float = LEVEL) -> FloatArray:
    """Interval of the score that these trained networks have on new patients.

    Args:
        scores: shape (...), the observed ones, which the intervals are made to hold: the draws
            near a ceiling lie below a perfect score.
        draws: shape (draws, ...), the same score of each draw of `confusion_draws`.
        level: coverage, in (0, 1).

    Returns:
        Shape (2, ...), lower and upper end; NaN where undefined.
    """
    observed = np.asarray(scores, dtype=np.float64)
    low, high = interval(draws, level)
    return np.stack([np.minimum(low, observed), np.maximum(high, observed)])


def procedure_interval(
    scores: npt.ArrayLike,
    draws: FloatArray,
    variance: ProcedureVariance,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
    seed: int = SEED,
) -> FloatArray:
    """Interval of the score to expect from this way of training on as many subjects.

    Args:
        scores: shape (V,), the observed ones.
        draws: shape (draws, V), as for `networks_interval`.
        variance: of `procedure_variance` with `paired=False`.
        bounds: least and greatest possible score.
        level: coverage, in (0, 1).
        seed: of the noise that stands for training.

    Returns:
        Shape (2, V); NaN with a single fold, which shows nothing of how training varies.
    """
    # From the same random numbers for each: the others matter only as they moderate its variance.
    noise = np.hstack([procedure_noise(one, len(draws), seed) for one in variance.each])
    return np.clip(networks_interval(scores, draws + noise, level), *bounds)


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, level: float = LEVEL) -> FloatArray:
    """Wilson's interval of proportions whose trials are independent: each patient tested once.

    Accuracy, recall, specificity and precision are such proportions; F1 is none. Where patients
    have several scans or tests, use `networks_interval`.

    Args:
        successes: counts, shape (...).
        trials: counts, of a shape that fits.
        level: coverage, in (0, 1).

    Returns:
        Shape (2, ...); NaN without a trial.

    Raises:
        ValueError: for more successes than trials, or negative counts.
    """
    right, total = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    )
    if (right < 0).any() or (right > total).any():
        raise ValueError("expected counts with 0 <= successes <= trials")
    ends = np.full((2, *total.shape), np.nan)
    defined = total > 0
    ends[:, defined] = proportion_confint(
        right[defined], total[defined], alpha=1.0 - level, method="wilson"
    )
    return ends


@dataclass(frozen=True)
class PrecisionPlan:
    """How many patients would narrow an interval.

    Attributes:
        tested: patients tested in the present study.
        present: half-width of its interval, in units of the score.
        target: half-width aimed at.
        floor: half-width that remains however many patients are tested, because training varies;
            0 for the interval of the trained networks.
        patients: number of tested patients needed in all; infinite where `target` is not above
            `floor`, where only more folds or steadier training help.
        more: `patients` less those there are.
    """

    tested: int
    present: float
    target: float
    floor: float
    patients: float
    more: float


def precision_plan(
    patients: int,
    networks_half_width: float,
    procedure_half_width: float = math.nan,
    shrink: float = 0.5,
) -> PrecisionPlan:
    """How many patients would have to be tested to shrink an interval to a part of its width.

    The part that patients explain falls with one over the square root of their number. The part
    that training explains, the difference of the squares of the two half-widths, does not fall
    with test patients; that training on more patients may reduce it is not counted on.

    Args:
        patients: tested patients n, at least 1.
        networks_half_width: of the interval of the trained networks, in units of the score.
        procedure_half_width: of the interval of the training procedure; NaN plans for the
            interval of the trained networks.
        shrink: the wanted half-width as a part of the present one, in (0, 1).

    Raises:
        ValueError: for values out of range.
    """
    if patients < 1 or not 0.0 < shrink < 1.0 or not networks_half_width >= 0.0:
        raise ValueError(
            "expected at least 1 patient, 0 < shrink < 1 and a half-width of at least 0, found "
            f"{patients}, {shrink} and {networks_half_width}"
        )
    whole = networks_half_width if math.isnan(procedure_half_width) else procedure_half_width
    floor = math.sqrt(max(whole**2 - networks_half_width**2, 0.0))
    target = shrink * whole
    if target <= floor:
        return PrecisionPlan(patients, whole, target, floor, math.inf, math.inf)
    needed = math.ceil(patients * networks_half_width**2 / (target**2 - floor**2))
    return PrecisionPlan(patients, whole, target, floor, needed, max(needed - patients, 0))
