"""The content of summary.json: every figure, for other programs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from stfmri.evidence import chosen
from stfmri.evidence.estimates import PRIMARY, Estimate, Results, Summary


def as_json(results: Results) -> dict[str, Any]:
    """The content of `summary.json`; undefined values are None."""
    evidence = results.evidence
    leader = results.leader
    return {
        "sweep": evidence.sweep,
        "note": evidence.note,
        "complete": not evidence.missing,
        "missing": evidence.missing,
        "classes": list(evidence.cohort.classes),
        "split": evidence.split,
        "split_notes": list(evidence.split_notes),
        "primary": PRIMARY.name,
        "leader": leader.predicted.name if leader else None,
        "variants": {item.predicted.name: _summary(item) for item in results.variants},
        "baselines": {
            item.predicted.name: {
                "sees_images": evidence.kinds[item.predicted.name].sees_images,
                "is_control": evidence.kinds[item.predicted.name].is_control,
                **_summary(item),
            }
            for item in results.baselines
        },
        "comparisons": _plain(results.comparisons),
        "selection": _plain(results.selection),
        "select": _plain(chosen.as_plain(evidence.chosen)),
        "chance": _plain(results.chance),
        "within_sources": _plain(results.within),
        "subgroups": _plain(results.subgroups),
        "precision": _plain(results.plan),
    }


def _summary(summary: Summary) -> dict[str, Any]:
    predicted = summary.predicted
    return {
        "label": predicted.label,
        "folds": len(predicted.folds),
        "seeds": list(predicted.seeds),
        "trainings": predicted.trainings,
        "sd_over_seeds": _plain(summary.primary.sd_over_seeds),
        "confusion": predicted.pooled.tolist(),
        "confusion_per_fold": predicted.fold_confusions.tolist(),
        "per_class": {
            name: {metric: _estimate(item) for metric, item in estimates.items()}
            for name, estimates in summary.per_class.items()
        },
        **{metric: _estimate(item) for metric, item in summary.overall.items()},
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": _plain(estimate.mean),
        "sd": _plain(estimate.sd),
        "sd_over_seeds": _plain(estimate.sd_over_seeds),
        "ci95": [_plain(estimate.low), _plain(estimate.high)],
        "ci95_procedure": [_plain(estimate.procedure_low), _plain(estimate.procedure_high)],
        "pooled": _plain(estimate.pooled),
    }


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, undefined numbers as None."""
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
