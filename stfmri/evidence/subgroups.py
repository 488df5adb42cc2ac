"""Where it fails: scores within the groups that the cohort table names, and within sources.

The share of right predictions is given for every group, since a group may hold one class only; the
area under the ROC curve where it holds several. Intervals are of these trained networks on new
patients, by the same draws as everywhere.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines.covariates import MISSING as NOT_GIVEN
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import FLAT, auc_interval, interval
from stfmri.study.table_columns import SEX_AND_AGE, number_of

# Numbers of more distinct values than these are cut into bands of about equal size.
MOST_VALUES = 8
BANDS = 3
MISSING = "not given"


@dataclass(frozen=True)
class GroupScore:
    """One variant or baseline in one group of one column.

    Attributes:
        column: `source`, or a column of the cohort table.
        group: its value, or a band of values.
        patients: tested ones in it.
        accuracy, low, high: share of right predictions, with its 95 % interval.
        auc: mean over the classes of the area under the ROC curve, within folds and the group; NaN
            where it holds one class only.
    """

    column: str
    group: str
    patients: int
    accuracy: float
    low: float
    high: float
    auc: float


@dataclass(frozen=True)
class WithinSources:
    """How well classes are told apart where the source cannot help.

    Attributes:
        auc, low, high: mean over the sources of their own AUC, with its 95 % interval; NaN where
            no source holds several classes.
        sources: those that hold several classes.
        patients: tested ones in them.
        overall: the AUC over all sources, of pairs within the same folds.
    """

    auc: float
    low: float
    high: float
    sources: tuple[str, ...]
    patients: int
    overall: float


def columns_of(cohort: Cohort, named: Sequence[str]) -> list[str]:
    """`source` and the columns of the cohort table to group by, without those of one group.

    Args:
        named: of `data.subgroups`; the usual ones, sex and age, are taken where they are found, and
            where they do not give the class away: then their groups are the classes.
    """
    known = dict.fromkeys(name for subject in cohort.used for name in subject.columns)
    usual = [
        name for name in known if SEX_AND_AGE.fullmatch(name) and not _gives_class(cohort, name)
    ]
    wanted = dict.fromkeys(["source", *named, *usual])
    return [name for name in wanted if len(set(groups_of(cohort, name).values())) > 1]


def _gives_class(cohort: Cohort, column: str) -> bool:
    """Whether the subjects of every group are of one class."""
    groups = groups_of(cohort, column)
    found = {(group, cohort.subjects[name].label) for name, group in groups.items()}
    return len(found) == len(set(groups.values()))


def groups_of(cohort: Cohort, column: str) -> Mapping[str, str]:
    """The group of each tested subject by `column`: its value, or its band of values."""
    tested = [cohort.subjects[name] for name in cohort.tested]
    values = {
        subject.subject_id: subject.source
        if column == "source"
        else _known(subject.columns.get(column, ""))
        for subject in tested
    }
    numbers = {name: number_of(value) for name, value in values.items()}
    found = sorted({number for number in numbers.values() if not math.isnan(number)})
    is_numeric = all(not math.isnan(numbers[name]) for name, value in values.items() if value)
    if not is_numeric or len(found) <= MOST_VALUES:
        return {name: value or MISSING for name, value in values.items()}
    given = [number for number in numbers.values() if not math.isnan(number)]
    edges = _edges(np.quantile(given, np.arange(1, BANDS) / BANDS).tolist())
    return {name: _band(number, edges) for name, number in numbers.items()}


def group_scores(
    predicted: Predicted, cohort: Cohort, column: str, weights_DP: npt.NDArray[np.float32]
) -> list[GroupScore]:
    """Scores of every group of `column`, groups in order.

    Args:
        weights_DP: of the clusters in each draw.
    """
    groups = groups_of(cohort, column)
    by_subject = np.array([groups[name] for name in cohort.tested])
    group_N = by_subject[predicted.subject_N]
    right_N = (predicted.prediction_N == predicted.label_N).astype(np.float64)
    cluster_N = cohort.cluster_of_tested[predicted.subject_N]
    scores = []
    for group in _in_order(set(groups.values())):
        chosen = group_N == group
        if not chosen.any():
            continue
        patients = {
            cohort.subjects[cohort.tested[number]].patient_id
            for number in np.unique(predicted.subject_N[chosen])
        }
        # Of several seeds a patient's predictions share the weight of one.
        weights_DN = weights_DP[:, cluster_N[chosen]] / np.float32(len(predicted.networks))
        low, high = _share_interval(right_N[chosen], weights_DN)
        scores.append(
            GroupScore(
                column,
                group,
                len(patients),
                float(right_N[chosen].mean()),
                low,
                high,
                _auc_of(predicted, chosen),
            )
        )
    return scores


def within_sources(
    predicted: Predicted, cohort: Cohort, weights_DP: npt.NDArray[np.float32]
) -> WithinSources:
    """The mean over sources of each one's own AUC, beside the AUC over all.

    Where source and class are entangled the latter is high for whoever recognises the source; the
    former is not.
    """
    source_of = np.array([cohort.subjects[name].source for name in cohort.tested])
    source_N = source_of[predicted.subject_N]
    cluster_N = cohort.cluster_of_tested[predicted.subject_N]
    drawn, values, used = [], [], []
    for source in sorted(set(source_N.tolist())):
        chosen = source_N == source
        if len(set(predicted.label_N[chosen].tolist())) < 2:
            continue
        value, draws = _stratified_auc(predicted, chosen, weights_DP[:, cluster_N])
        if math.isnan(value):
            continue  # both classes there, but never in the test part of one fold
        values.append(value)
        drawn.append(draws)
        used.append(source)
    overall, _ = _stratified_auc(predicted, np.ones(len(source_N), dtype=bool), None)
    if not used:
        return WithinSources(math.nan, math.nan, math.nan, (), 0, overall)
    low, high = interval(np.mean(drawn, axis=0))
    if high - low <= FLAT:
        # All draws agree, so that the numbers of patients alone have to tell.
        counts = [_counts(predicted, cluster_N, source_N == source) for source in used]
        rarest_S, others_S = np.transpose(counts)
        low, high = auc_interval(float(np.mean(values)), rarest_S, others_S)
    inside = np.unique(predicted.subject_N[np.isin(source_N, used)])
    patients = {cohort.subjects[cohort.tested[number]].patient_id for number in inside}
    return WithinSources(
        float(np.mean(values)), float(low), float(high), tuple(used), len(patients), overall
    )


def _stratified_auc(
    predicted: Predicted, chosen: npt.NDArray[np.bool_], weights_DN: npt.NDArray | None
) -> tuple[float, FloatArray]:
    """AUC of each class against the rest, over pairs of one fold, and their mean over classes.

    Returns:
        The value, NaN without any pair; and that of each draw.
    """
    values, drawn = [], []
    for number in range(predicted.probability_NK.shape[1]):
        right = pairs = 0.0
        right_D = pairs_D = np.zeros(1 if weights_DN is None else len(weights_DN))
        for network in np.unique(predicted.network_N):
            here = chosen & (predicted.network_N == network)
            positive = np.flatnonzero(here & (predicted.label_N == number))
            negative = np.flatnonzero(here & (predicted.label_N != number))
            if not len(positive) or not len(negative):
                continue
            score = predicted.probability_NK[:, number]
            above = np.sign(score[positive][:, None] - score[negative][None, :]) / 2 + 0.5
            right += float(above.sum())
            pairs += above.size
            if weights_DN is not None:
                weight_P, weight_Q = weights_DN[:, positive], weights_DN[:, negative]
                right_D = right_D + ((weight_P @ above.astype(np.float32)) * weight_Q).sum(axis=1)
                pairs_D = pairs_D + weight_P.sum(axis=1) * weight_Q.sum(axis=1)
        if pairs:
            values.append(right / pairs)
            if weights_DN is not None:
                drawn.append(right_D / pairs_D)
    if not values:
        return math.nan, np.zeros(0)
    return float(np.mean(values)), np.mean(drawn, axis=0) if drawn else np.zeros(0)


def _counts(
    predicted: Predicted, cluster_N: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]
) -> tuple[int, int]:
    """Independent patients of the rarest class of a source, and of its others."""
    counts = [
        len(np.unique(cluster_N[chosen & (predicted.label_N == number)]))
        for number in range(predicted.probability_NK.shape[1])
    ]
    rarest = min(count for count in counts if count)
    return rarest, sum(counts) - rarest


def _auc_of(predicted: Predicted, chosen: npt.NDArray[np.bool_]) -> float:
    return _stratified_auc(predicted, chosen, None)[0]


def _share_interval(
    right_N: FloatArray, weights_DN: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """95 % interval of the share of right predictions, never of width zero.

    Half a pseudo-patient each way keeps it open where nobody, or everybody, was right (Jeffreys).
    """
    generator = np.random.default_rng(0)
    pseudo = generator.standard_gamma(0.5, size=(2, len(weights_DN)))
    right_D = weights_DN @ right_N.astype(np.float32) + pseudo[0]
    wrong_D = weights_DN @ (1 - right_N).astype(np.float32) + pseudo[1]
    low, high = interval(np.asarray(right_D / (right_D + wrong_D), dtype=np.float64))
    share = float(right_N.mean())
    return min(float(low), share), max(float(high), share)


def _known(text: str) -> str:
    """The text, "" where it says that the value is missing."""
    stripped = text.strip()
    return "" if stripped.lower() in NOT_GIVEN else stripped


def _edges(quantiles: Sequence[float]) -> list[float]:
    """Edges of bands: whole numbers, or as many digits as tell them apart."""
    gap = max(quantiles) - min(quantiles)
    digits = max(0, -math.floor(math.log10(gap))) if gap > 0 else 3
    return sorted({round(edge, digits) for edge in quantiles})


def _band(number: float, edges: Sequence[float]) -> str:
    """`below 40`, `40 to 60`, `60 and above`: each band without its upper edge."""
    if math.isnan(number):
        return MISSING
    if number < edges[0]:
        return f"below {edges[0]:g}"
    for low, high in itertools.pairwise(edges):
        if low <= number < high:
            return f"{low:g} to {high:g}"
    return f"{edges[-1]:g} and above"


def _in_order(groups: set[str]) -> list[str]:
    """Bands by their numbers, other groups by name, what is not given last."""

    def key(group: str) -> tuple[bool, float, str]:
        number = re.search(r"-?\d+(\.\d+)?", group)
        below = -0.5 if group.startswith("below") else 0.0
        return group == MISSING, float(number[0]) + below if number else math.inf, group

    return sorted(groups, key=key)
