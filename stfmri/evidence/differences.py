"""Differences between variants, and between variants and baselines.

What the report says rests on the simultaneous intervals of a family alone. The further tests stand
beside them because readers of other papers look for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stfmri.evidence.estimates import Comparison, Results, Summary
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    Family,
    ProcedureVariance,
    against,
    all_pairs,
    cohens_h,
    corrected_resampled_t_test,
    holm,
    mcnemar,
    networks_family,
    paired_auc_test,
    procedures_family,
)

if TYPE_CHECKING:
    from stfmri.evidence.summarise import Draws

# All pairs of variants are listed up to this many variants, beyond it only the leader with each
# other one: 12 make 66 pairs. The intervals allow for all pairs in either case.
ALL_PAIRS = 12


def compare(
    results: Results,
    names: Sequence[str],
    drawn_DV: FloatArray,
    variance: ProcedureVariance,
    draws: Draws,
    factor: float,
) -> tuple[Comparison, ...]:
    """Both families: variants with each other, better one first, and with each baseline.

    Args:
        names: of the V variants and baselines that were tested on the same folds.
        drawn_DV: their primary metric in each draw.
        variance: of their training, paired.
        factor: Nadeau & Bengio's `1/k + n_test/n_train`.
    """
    number = {name: position for position, name in enumerate(names)}
    by_name = {summary.predicted.name: summary for summary in results.everyone}
    pooled = np.array([by_name[name].primary.pooled for name in names])
    kinds = results.evidence.kinds
    ranked = [
        number[summary.predicted.name]
        for summary in results.ranked
        if summary.predicted.name in number
    ]
    controls = {name for name, kind in kinds.items() if kind.is_control}
    baselines = [
        number[summary.predicted.name]
        for summary in results.baselines
        if summary.predicted.name in number and summary.predicted.name not in controls
    ]
    found: list[Comparison] = []
    for family, order, pairs in (
        ("variants", ranked, all_pairs(len(ranked))),
        ("baselines", ranked + baselines, against(len(ranked), len(baselines))),
    ):
        if not len(pairs):
            continue
        columns = np.array(order)
        part = _part(variance, columns)
        of_procedure = not math.isnan(variance.degrees_of_freedom)
        compared = (
            procedures_family(pooled[columns], drawn_DV[:, columns], part, pairs)
            if of_procedure
            else networks_family(pooled[columns], drawn_DV[:, columns], pairs)
        )
        listed = [by_name[names[column]] for column in order]
        few = family == "baselines" or len(ranked) <= ALL_PAIRS
        rows = [row for row in range(len(pairs)) if few or pairs[row][0] == 0]
        found += _with_holm(
            [_comparison(compared, row, listed, family, of_procedure, draws, factor) for row in rows]
        )
    return tuple(found)


def _part(variance: ProcedureVariance, columns: npt.NDArray[np.intp]) -> ProcedureVariance:
    """The variance of some of the contestants."""
    return replace(
        variance, observed=variance.observed[columns], explained=variance.explained[columns]
    )


def _comparison(
    family: Family,
    row: int,
    listed: Sequence[Summary],
    name: str,
    of_procedure: bool,
    draws: Draws,
    factor: float,
) -> Comparison:
    """One difference of a family, with the further tests of it."""
    a, b = (listed[position] for position in family.pairs[row])
    auc_difference, auc_p = _auc_test(a.predicted, b.predicted, draws)
    return Comparison(
        a=a.predicted.name,
        b=b.predicted.name,
        family=name,
        of_procedure=of_procedure,
        difference=float(family.difference[row]),
        low=float(family.low[row]),
        high=float(family.high[row]),
        p=float(family.p[row]),
        effect=cohens_h(_right(a.predicted).mean(), _right(b.predicted).mean()),
        t_test_p=corrected_resampled_t_test(a.fold_scores - b.fold_scores, factor).p,
        mcnemar_p=_mcnemar(a.predicted, b.predicted) if draws.once else math.nan,
        auc_difference=auc_difference,
        auc_p=auc_p,
    )
