"""The report: one self-contained HTML file that says what was compared and what came out."""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stfmri.evidence import list_tables, metrics, score_tables
from stfmri.evidence.collected import RunRecord
from stfmri.evidence.estimates import Results
from stfmri.evidence.sentences import headline
from stfmri.evidence.tables import Table, cell_text

# Rows of the long lists that the page shows; the CSV files hold all.
MOST_ROWS = 200


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page holds it; `section` says where."""

    name: str
    section: str
    title: str
    caption: str
    svg: bytes

    @property
    def data_uri(self) -> str:
        """The figure as the address of an image."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


def tables_of(results: Results) -> list[Table]:
    """Every table that is written, in the order of the page."""
    tables = score_tables.all_tables(results)
    leader = results.leader
    if leader:
        tables.append(list_tables.misclassified_table(leader.predicted, results.evidence))
    tables.append(list_tables.hardest_table(results.evidence))
    if results.subgroups:
        tables.append(list_tables.subgroup_table(results.subgroups))
    return tables


def render(results: Results, tables: Sequence[Table], figures: Sequence[EmbeddedFigure]) -> str:
    """The whole page.

    Args:
        results: what the sweep says.
        tables: of `tables_of`, found here by name.
        figures: in the order of the page.
    """
    environment = Environment(
        loader=PackageLoader("stfmri.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["cell_text"] = cell_text
    evidence = results.evidence
    by_section: dict[str, list[EmbeddedFigure]] = defaultdict(list)
    for figure in figures:
        by_section[figure.section].append(figure)
    return environment.get_template("report.html.j2").render(
        results=results,
        evidence=evidence,
        missing=evidence.missing,
        headline=headline(results),
        facts=facts(results),
        tables={table.name: table for table in tables},
        overall_tables=[table.name for table in score_tables.OVERALL_TABLES],
        class_f1=[table for table in tables if table.name.startswith("f1_of_")],
        figures=by_section,
        most_rows=MOST_ROWS,
        precision=precision(results),
        provenance=provenance(evidence.network_records),
        records=[_run_row(record) for record in evidence.records],
        definitions=definitions(),
        baselines=[evidence.kinds[one.predicted.name] for one in results.baselines],
    )


def definitions() -> list[tuple[str, str]]:
    """What each metric is: (its label, a sentence)."""
    found = {metric.label: metric.definition for metric in metrics.METRICS}
    return list(found.items())


def precision(results: Results) -> str:
    """How many more patients would halve the leader's interval, in a sentence."""
    plan = results.plan
    if plan is None or math.isnan(plan.target) or plan.target <= 0:
        return ""
    whole = 2 * plan.target
    if math.isinf(plan.patients):
        return (
            f"The 95 % interval of the leading variant is ± {whole:.3f}. More test patients alone "
            f"cannot halve it: the variation between trainings leaves ± {plan.floor:.3f}. More "
            "folds or repetitions, or steadier training, would."
        )
    return (
        f"The 95 % interval of the leading variant is ± {whole:.3f}; with {plan.more:,.0f} more "
        f"tested patients, {plan.patients:,.0f} in all, it would be half as wide."
    )


def facts(results: Results) -> list[tuple[str, str]]:
    """The few numbers at the top: (value, what it counts)."""
    cohort = results.evidence.cohort
    read = sum(1 for record in results.evidence.records if not record.missing_because)
    patients = len({subject.patient_id for subject in cohort.used})
    sources = len({subject.source for subject in cohort.used})
    folds = len({record.run.fold for record in results.evidence.records})
    names = "classes: " + ", ".join(cohort.classes)
    plural = "" if folds == 1 else "s"
    return [
        (f"{len(cohort.used):,}", f"scans of {patients:,} patients"),
        (f"{len(cohort.classes)}", names if len(names) < 48 else "classes"),
        (f"{sources}", "source" if sources == 1 else "sources"),
        (f"{folds}", f"fold{plural} of {cohort.mean_test_size():.0f} test scans"),
        (f"{read:,} of {len(results.evidence.records):,}", "runs collected"),
    ]


def provenance(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """What the runs say of how they were made: (what, the values found)."""
    read = [record.provenance for record in records if not record.missing_because]
    rows = []
    for key, words in (
        ("precision", "Precision"),
        ("device", "Device"),
        ("host", "Host"),
        ("code", "Code"),
        ("versions", "Versions"),
    ):
        values = sorted({_plain(content.get(key)) for content in read} - {""})
        if values:
            shown = "; ".join(values[:8]) + (f"; and {len(values) - 8} more" if values[8:] else "")
            rows.append((words, shown))
    return rows


def _run_row(record: RunRecord) -> dict[str, str]:
    """One line of the list of runs."""
    content = record.provenance
    return {
        "name": record.run.name,
        "missing": record.missing_because,
        "precision": _plain(content.get("precision")),
        "where": _plain(content.get("device")),
        "time": _duration(content.get("timings")),
        "memory": _gigabytes(content.get("peak_memory_bytes")),
    }


def _plain(value: Any) -> str:
    """Any JSON value as a short text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        said = {key: _plain(item) for key, item in value.items()}
        return ", ".join(f"{key} {text}" for key, text in said.items() if text)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _duration(timings: object) -> str:
    """The sum of the parts that a run timed, in seconds each."""
    if not isinstance(timings, Mapping):
        return ""
    seconds = sum(value for value in timings.values() if isinstance(value, int | float))
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _gigabytes(size: object) -> str:
    return f"{size / 1e9:.1f} GB" if isinstance(size, int | float) else ""
