"""What came out, in plain sentences, each of which says what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stfmri.evidence.estimates import PRIMARY, Comparison, Results, Selection, Summary

# A p-value is said to this many digits at least; permutation tests cannot go below 1 / (n + 1).
LEAST_P = 0.001
CHANCE_LEVEL = 0.05
# What an AUC, and a lead in it, must exceed to be worth a sentence of its own.
CHANCE_AUC = 0.5
ENTANGLED = 0.1


def headline(results: Results) -> list[str]:
    """Who leads, by how much, and whether that means anything."""
    leader = results.leader
    if leader is None:
        return ["No run of this sweep has predictions yet; only the baselines are shown."]
    folds = leader.predicted.folds
    sentences = [_lead(leader, results)]
    if results.selection is not None:
        sentences.append(_selection(results.selection))
    if len(results.ranked) > 1:
        sentences.append(_rivals(leader, results))
    for sees_images in (True, False):
        baseline = results.best_baseline(sees_images=sees_images)
        if baseline is not None:
            sentences.append(_against(leader, baseline, results))
    if results.baselines and all(one.predicted.folds != folds for one in results.rivals):
        sentences.append("No baseline was tested on just these folds, so it is compared with none.")
    sentences.append(_chance(leader, results))
    sentences += _controls(results)
    sentences += _within_sources(results)
    if len(results.ranked) < len(results.variants):
        sentences.append(
            "All of this is of the largest part of the training subjects; the learning curve shows "
            "the smaller ones."
        )
    return [sentence for sentence in sentences if sentence]


def beats_chance(results: Results) -> bool | None:
    """Whether the leader is shown to beat chance; None where there is no leader, or no test."""
    test = results.chance.get(results.leader.predicted.name) if results.leader else None
    return None if test is None else test.p < CHANCE_LEVEL


def _lead(leader: Summary, results: Results) -> str:
    score = leader.primary
    spread = "" if math.isnan(score.sd) else f" ± {score.sd:.3f}"
    folds = len(leader.predicted.folds)
    verb = "leads with" if len(results.ranked) > 1 else "reaches"
    seeds = len(leader.predicted.members)
    of_seeds = (
        "" if seeds < 2 else f" (mean of {seeds} seeds, ± {score.sd_over_seeds:.3f} in a fold)"
    )
    costly = f", {leader.predicted.trainings} times the training," * leader.predicted.is_ensemble
    name = f"{leader.predicted.label}{of_seeds}{costly} {verb} a {PRIMARY.label_in_text} of"
    where = "in the external test" if results.evidence.is_external else "in its one fold"
    value = (
        f"{name} {score.mean:.3f} {where}"
        if folds == 1
        else f"{name} {score.mean:.3f}{spread} over {folds} folds (pooled {score.pooled:.3f})"
    )
    networks = f"{score.low:.3f} to {score.high:.3f} for these trained networks on new patients"
    if math.isnan(score.procedure_low):
        why = "from one fold" if folds == 1 else "where it is not known how many scans trained"
        return (
            f"{value}; 95 % interval {networks}. How much another training would change it cannot "
            f"be told {why}."
        )
    return (
        f"{value}; 95 % interval {networks}, {score.procedure_low:.3f} to "
        f"{score.procedure_high:.3f} for networks trained anew in the same way."
    )


def _selection(selection: Selection) -> str:
    return (
        f"It was chosen as the best of {selection.candidates} variants on these same test scans; "
        f"corrected for that choice, its {PRIMARY.label_in_text} is {selection.value:.3f} "
        f"(95 % interval {selection.low:.3f} to {selection.high:.3f})."
    )


def _rivals(leader: Summary, results: Results) -> str:
    """Who cannot be told apart from the leader."""
    labels = {summary.predicted.name: summary.predicted.label for summary in results.variants}
    against = results.comparisons_of(leader.predicted.name, "variants")
    if not against:
        return "No other variant was tested on the same folds, so none can be compared with it."
    equal = [item for item in against if not item.is_apart]
    basis = _basis(against[0])
    if not equal:
        others = f"each of the {len(against)} others" if len(against) > 1 else "the other variant"
        return (
            f"Its lead over {others} is more than chance would give {basis}: the 95 % intervals of "
            "all differences at once leave out zero."
        )
    names = [labels[item.b if item.a == leader.predicted.name else item.a] for item in equal]
    count = "any" if len(names) == len(against) else str(len(names))
    some = f"{count} of the {len(against)} other variants" if len(names) > 4 else _and(names)
    return (
        f"It cannot be told apart from {some}: the 95 % interval of the difference holds zero "
        f"({basis})."
    )


def _against(leader: Summary, baseline: Summary, results: Results) -> str:
    """The leader beside the best baseline of one kind."""
    kind = results.evidence.kinds[baseline.predicted.name]
    other = f"{kind.full_phrase} ({baseline.primary.pooled:.3f})"
    # The best baseline is one of the leader's folds, and so compared with it.
    (item,) = results.comparisons_of(leader.predicted.name, "baselines", baseline.predicted.name)
    difference = (
        f"difference {item.difference:+.3f}, 95 % interval {item.low:+.3f} to {item.high:+.3f} "
    ).replace("-", "−") + _basis(item)
    if item.low > 0:
        return f"It is above {other}: {difference}."
    if item.high < 0:
        return f"It is below {other}: {difference}. {kind.meaning}"
    if item.of_procedure and (item.networks_low > 0 or item.networks_high < 0):
        return _as_trained(item, other, kind.meaning, len(leader.predicted.folds))
    return (
        f"It cannot be told apart from {other}: {difference}. Its score alone does not show that "
        "it has learned more."
    )


def _as_trained(item: Comparison, other: str, meaning: str, folds: int) -> str:
    """What holds for the networks as they were trained, and not yet for the way of training."""
    where = "below" if item.difference < 0 else "above"
    text = (
        f"These trained networks are {where} {other}: difference {item.difference:+.3f}, 95 % "
        f"interval {item.networks_low:+.3f} to {item.networks_high:+.3f} on new patients. Whether "
        f"networks trained anew would be, {folds} folds do not show ({item.low:+.3f} to "
        f"{item.high:+.3f})."
    ).replace("-", "−")
    return f"{text} {meaning}" if where == "below" else text


def _chance(leader: Summary, results: Results) -> str:
    test = results.chance.get(leader.predicted.name)
    if test is None:
        return ""
    p = f"p < {LEAST_P}" if test.p < LEAST_P else f"p = {test.p:.3f}"
    permuted = f"Predictions dealt out to the wrong patients score {test.mean:.3f} on average"
    better = (
        "it is better than chance" if test.p < CHANCE_LEVEL else "it is not shown to beat chance"
    )
    auc = leader.overall["macro_auc"]
    count = len(results.chance)
    all_ = f" that allows for all {count} contestants" if count > 1 else ""
    text = f"{permuted}: {better} (permutation test{all_}, {p})."
    if test.p >= CHANCE_LEVEL and ranks_classes(leader, results):
        text += (
            f" Its probabilities do rank the classes (macro AUC {auc.mean:.3f}, 95 % interval "
            f"{auc.low:.3f} to {auc.high:.3f}): they say more than its choice of the likeliest "
            "class."
        )
    return text


def ranks_classes(summary: Summary, results: Results) -> bool:
    """Whether its macro AUC is shown to be above chance, in cross-validation as in a single fold.

    The lower end of its interval is moved as far as scores of exchanged labels are.
    """
    auc, test = summary.overall["macro_auc"], results.chance[summary.predicted.name]
    return auc.mean - test.widened * (auc.mean - auc.low) > CHANCE_AUC


def _controls(results: Results) -> list[str]:
    """What the controls scored; one that does not score chance is a warning."""
    said = []
    for summary in results.baselines:
        kind = results.evidence.kinds[summary.predicted.name]
        test = results.chance.get(summary.predicted.name)
        if not kind.is_control or test is None:
            continue
        score = f"{summary.primary.pooled:.3f}"
        if test.p < CHANCE_LEVEL:
            said.append(
                f"Warning: {kind.full_phrase} scores {score}, which is better than chance (p = "
                f"{test.p:.3f}). It cannot have learned anything; look for scans that are on both "
                "sides of the split."
            )
        else:
            said.append(
                f"The control ({summary.predicted.label}) scores {score} (p = {test.p:.3f}): no "
                "better than chance, as it must be."
            )
    return said


def _within_sources(results: Results) -> list[str]:
    """Whether the classes are told apart where the source does not help."""
    within = results.within
    if within is None or len(results.sources) < 2:
        return []
    if not within.sources:
        return [
            "No source holds several classes in one test part: whether it tells the classes apart "
            "or only the sources cannot be known from these scans."
        ]
    value = (
        f"{within.auc:.3f} (95 % interval {within.low:.3f} to {within.high:.3f}; "
        f"{len(within.sources)} of {len(results.sources)} sources, {within.patients} patients)"
    )
    text = f"Within single sources its macro AUC is {value}, over all sources {within.overall:.3f}."
    if within.low <= CHANCE_AUC and within.overall - within.auc > ENTANGLED:
        text += (
            " Where the source does not give the class away it is not shown to beat chance: its "
            "score over all sources is no sign that it sees what the classes mean."
        )
    return [text]


def _basis(item: Comparison) -> str:
    """Which variation the interval of a difference is about."""
    return "for networks trained anew" if item.of_procedure else "for these trained networks"


def _and(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a; b and c`: the names hold commas themselves."""
    if len(names) == 1:
        return names[0]
    return "; ".join(names[:-1]) + " and " + names[-1]
