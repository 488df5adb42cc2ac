"""The report: one self-contained HTML file that says what was compared and what came out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stfmri.evidence import list_tables, metrics, score_tables, statements
from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.chosen import selection_table
from stfmri.evidence.collected import RunRecord
from stfmri.evidence.estimates import Results
from stfmri.evidence.methods.checklists import (
    CHECKLISTS,
    FilledChecklist,
    checklist_table,
    fill,
    read_checklist,
)
from stfmri.evidence.methods.flow import drawing_of, flow_of, flow_table
from stfmri.evidence.methods.method_text import Paragraph, method_paragraphs
from stfmri.evidence.methods.montage import Mistake, MistakeCard, cards_of
from stfmri.evidence.methods.table_one import split_table, table_one
from stfmri.evidence.methods.wording import capital
from stfmri.evidence.sentences import headline
from stfmri.evidence.tables import Table, cell_text
from stfmri.study.words import ranged

# Pictures of mistakes that the page shows of each kind.
MOST_CARDS = 8
# Rows of the long lists that the page shows; the CSV files hold all.
MOST_ROWS = 200


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page holds it.

    Attributes:
        kind: of its `FigureKind`; the page finds it by that.
        picture: HTML that holds its images.
    """

    kind: str
    name: str
    title: str
    caption: str
    picture: Markup


@dataclass(frozen=True)
class Texts:
    """What is written in words: the methods section, and the checklists that it answers."""

    paragraphs: tuple[Paragraph, ...]
    checklists: tuple[FilledChecklist, ...]


def texts_of(results: Results) -> Texts:
    """Methods and checklists; none for predictions of other tools: too little is known of them."""
    evidence = results.evidence
    if evidence.study is None:
        return Texts((), ())
    paragraphs = method_paragraphs(
        evidence.study,
        [f"{capital(evidence.split)}."] if evidence.split else [],
        statements.baselines_used(results),
        statements.statistics_used(results),
    )
    filled = (fill(read_checklist(name), evidence.study, paragraphs) for name in CHECKLISTS)
    return Texts(paragraphs, tuple(filled))


def tables_of(results: Results, texts: Texts) -> list[Table]:
    """Every table that is written, in the order of the page."""
    evidence = results.evidence
    tables = score_tables.all_tables(results)
    leader = results.leader
    if leader:
        tables.append(list_tables.misclassified_table(leader.predicted, evidence))
    if len(results.variants) > 1:
        tables.append(list_tables.hardest_table(evidence))
    if evidence.chosen.runs:
        tables.append(selection_table(evidence.chosen))
    if any(results.subgroups.values()):
        tables.append(list_tables.subgroup_table(results.subgroups))
    if evidence.study is not None:
        tables.append(table_one(evidence.cohort, evidence.study.config.data.label))
        tables.append(split_table(evidence.cohort))
        tables.append(flow_table(flow_of(evidence.study)))
    tables += [checklist_table(filled) for filled in texts.checklists]
    return tables


def mistakes_of(results: Results) -> dict[str, tuple[MistakeCard, ...]]:
    """Pictures of the leader's surest mistakes, and of the subjects that most networks miss."""
    evidence, leader = results.evidence, results.leader
    if leader is None or evidence.volumes is None:
        return {}
    predicted = leader.predicted
    surest = list_tables.surest_mistakes(predicted)
    of_subject = {int(predicted.subject_N[row]): row for row in reversed(surest)}
    hardest = [number for number in list_tables.hardest_subjects(evidence) if number in of_subject]
    groups = {
        f"Surest mistakes of {predicted.label}": list(
            dict.fromkeys(int(predicted.subject_N[row]) for row in surest)
        ),
        "Missed by most networks": hardest if len(results.variants) > 1 else [],
    }
    return {
        title: cards_of(
            [_mistake(results, of_subject[number]) for number in numbers[:MOST_CARDS]],
            evidence.volumes,
        )
        for title, numbers in groups.items()
        if numbers
    }


def _mistake(results: Results, row: int) -> Mistake:
    """One wrong prediction of the leader, and how all networks did on its subject."""
    evidence, leader = results.evidence, results.leader
    assert leader is not None
    predicted = leader.predicted
    number = predicted.subject_N[row]
    subject = evidence.cohort.subjects[evidence.cohort.tested[number]]
    tested, missed = (int(counts[number]) for counts in evidence.missed)
    return Mistake(
        subject.subject_id,
        subject.source,
        subject.label,
        evidence.cohort.classes[predicted.prediction_N[row]],
        float(predicted.probability_NK[row].max()),
        missed,
        tested,
    )


def render(
    results: Results, texts: Texts, tables: Sequence[Table], figures: Sequence[EmbeddedFigure]
) -> str:
    """The whole page.

    Args:
        results: what the sweep says.
        texts: of `texts_of`.
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
    by_kind: dict[str, list[EmbeddedFigure]] = defaultdict(list)
    for figure in figures:
        by_kind[figure.kind].append(figure)
    study = evidence.study
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        kind=capital(evidence.split) or "Test predictions",
        missing=evidence.missing,
        headline=headline(results),
        facts=facts(results),
        tables={table.name: table for table in tables},
        overall_tables=[table.name for table in score_tables.OVERALL_TABLES],
        class_f1=[table for table in tables if table.name.startswith("f1_of_")],
        figures=by_kind,
        most_rows=MOST_ROWS,
        precision=precision(results),
        mistakes=mistakes_of(results),
        flow=None if study is None else drawing_of(flow_of(study)),
        paragraphs=texts.paragraphs,
        checklists=texts.checklists,
        provenance=provenance(evidence.network_records),
        records=[_run_row(record) for record in evidence.records],
        statistics=statements.definitions(results),
        metrics=[(metric.label, metric.definition) for metric in metrics.METRICS],
        baselines=_explained(results),
    )


def _explained(results: Results) -> list[Baseline]:
    """Each baseline once, on however many volumes it was run."""
    kinds = [results.evidence.kinds[one.predicted.name] for one in results.baselines]
    return list({kind.label: kind for kind in kinds}.values())


def precision(results: Results) -> str:
    """How many more patients would halve the leader's interval, in a sentence."""
    plan = results.plan
    if plan is None or not plan.present > 0:
        return ""
    whole = plan.present
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
    records = results.evidence.records
    folds = len({record.run.fold for record in records}) or len(cohort.folds)
    tested = [len(fold.test) for fold in cohort.folds]
    names = "classes: " + ", ".join(cohort.classes)
    plural = "" if folds == 1 else "s"
    collected = [(f"{read:,} of {len(records):,}", "runs collected")] if records else []
    return [
        (f"{len(cohort.used):,}", f"scans of {patients:,} patients"),
        (f"{len(cohort.classes)}", names if len(names) < 48 else "classes"),
        (f"{sources}", "source" if sources == 1 else "sources"),
        (f"{folds}", f"fold{plural} of {ranged(tested, 'test scan')}"),
        *collected,
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
