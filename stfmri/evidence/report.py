"""The report: one self-contained HTML file that says what was compared and what came out."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stfmri.evidence.summary import Comparison, Results, Summary
from stfmri.evidence.tables import Table, cell_text
from stfmri.evidence.tallies import RunRecord

# Rows of the long lists that the page shows; the CSV files hold all.
MOST_ROWS = 200


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page holds it."""

    name: str
    title: str
    caption: str
    svg: bytes

    @property
    def data_uri(self) -> str:
        """The figure as the address of an image."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


def render(
    results: Results,
    tables: Sequence[Table],
    figures: Sequence[EmbeddedFigure],
    misclassified: Table | None,
    hardest: Table,
) -> str:
    """The whole page.

    Args:
        results: what the sweep says.
        tables: as written to `tables/`, found here by name.
        figures: in the order of the page.
        misclassified: mistakes of the leading variant; None where there is no variant.
        hardest: subjects that most networks get wrong.
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
    by_name = {table.name: table for table in tables}
    page = environment.get_template("report.html.j2")
    return page.render(
        sweep=evidence.sweep,
        note=evidence.note,
        choices=evidence.choices,
        missing=evidence.missing,
        runs=len(evidence.records),
        facts=facts(results),
        headline=headline(results),
        cohort=by_name["cohort"],
        scores=[by_name["table5_consolidated"], by_name["accuracy"]],
        all_f1=by_name["f1_by_class"],
        class_f1=[
            table for table in tables if "_f1_" in table.name or table.name.startswith("f1_of_")
        ],
        per_class=by_name["per_class"],
        comparisons=by_name["comparisons"],
        parameters=by_name["table1_parameters"],
        # Scores that come with a caution are not for setting beside published ones.
        literature=None if evidence.note else by_name.get("table6_literature"),
        figures={
            "forest": [f for f in figures if f.name.startswith("forest")],
            "confusion": [f for f in figures if f.name.startswith("confusion")],
            "heatmaps": [f for f in figures if f.name.startswith("classwise")],
            "curves": [f for f in figures if f.name.startswith("training")],
        },
        misclassified=misclassified,
        hardest=hardest,
        most_rows=MOST_ROWS,
        provenance=provenance(evidence.records),
        records=[_run_row(record) for record in evidence.records],
        paper=evidence.cited.citation if evidence.cited else "",
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


def headline(results: Results) -> list[str]:
    """What came out, in plain sentences: who leads, by how much, and whether it means anything."""
    leader = results.leader
    if leader is None:
        return ["No run of this sweep has predictions yet; only the baselines are shown."]
    macro = leader.overall["macro_f1"]
    spread = "" if math.isnan(macro.sd) else f" ± {macro.sd:.3f}"
    folds = len(leader.tally.folds)
    verb = "leads with" if len(results.variants) > 1 else "reaches"
    interval = f"95 % interval {macro.low:.3f} to {macro.high:.3f}"
    sentences = [
        f"{leader.tally.label} {verb} a macro F1 of {macro.mean:.3f} in its one fold ({interval})."
        if folds == 1
        else f"{leader.tally.label} {verb} a macro F1 of {macro.mean:.3f}{spread} over {folds} "
        f"folds (pooled {macro.pooled:.3f}, {interval})."
    ]
    if len(results.variants) > 1:
        sentences.append(_rivals(leader, results))
    sentences.append(_against_baselines(leader, results))
    return sentences


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


def _rivals(leader: Summary, results: Results) -> str:
    """Who cannot be told apart from the leader."""
    labels = {summary.tally.name: summary.tally.label for summary in results.variants}
    against = [
        item
        for item in results.comparisons
        if item.kind == "variants" and leader.tally.name in (item.a, item.b)
    ]
    equal = [item for item in against if not _is_apart(item)]
    if not against:
        return "No other variant was tested on the same folds, so none can be compared with it."
    if not equal:
        return (
            f"Its lead over each of the {len(against)} others is more than chance among these "
            "patients would give (95 % intervals of the differences leave out zero)."
            if len(against) > 1
            else "Its lead over the other variant is more than chance among these patients would "
            "give (the 95 % interval of the difference leaves out zero)."
        )
    names = [labels[item.b if item.a == leader.tally.name else item.a] for item in equal]
    some = f"{len(names)} of the {len(against)} other variants" if len(names) > 4 else _and(names)
    return f"It cannot be told apart from {some}: the 95 % interval of the difference holds zero."


def _against_baselines(leader: Summary, results: Results) -> str:
    """Whether the leader knows more than the better of the baselines, which see no image."""
    # Where they are equal, the look-up from source is the one that says more.
    better = max(
        results.baselines.values(),
        key=lambda one: (one.overall["macro_f1"].pooled, one.tally.name == "source_only"),
    )
    from_source = better.tally.name == "source_only"
    what = "the look-up from source alone" if from_source else "always the most frequent class"
    blind = f"{what}, which sees no image ({better.overall['macro_f1'].pooled:.3f})"
    comparison = next(
        (
            item
            for item in results.comparisons
            if (item.a, item.b) == (leader.tally.name, better.tally.name)
        ),
        None,
    )
    if comparison is None:
        return f"Its missing folds keep it from being set beside {blind}."
    difference = (
        f"difference {comparison.pooled_difference:+.3f}, 95 % interval {comparison.low:+.3f} to "
        f"{comparison.high:+.3f}"
    ).replace("-", "−")
    if comparison.low > 0:
        return f"It is above {blind}: {difference}."
    knows = "Knowing where a scan comes from" if from_source else "Naming one class for all scans"
    if comparison.high < 0:
        return (
            f"It is below {blind}: {difference}. {knows} does better than this network, so its "
            "score is no sign that it sees what the classes mean."
        )
    learned = "more than the source" if from_source else "anything"
    return (
        f"It cannot be told apart from {blind}: {difference}. Its score alone does not show "
        f"that it has learned {learned}."
    )


def _is_apart(comparison: Comparison) -> bool:
    """Whether the interval of the difference leaves out zero."""
    return comparison.low > 0 or comparison.high < 0


def _and(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a; b and c`: the names hold commas themselves."""
    if len(names) == 1:
        return names[0]
    return "; ".join(names[:-1]) + " and " + names[-1]


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
