"""Results on disk: tables, figures, summary.json, and the report last."""

from __future__ import annotations

import json
from pathlib import Path

from stfmri.evidence import content, figures, listings, report, style
from stfmri.evidence.gather import read_run
from stfmri.evidence.summary import Results, as_json
from stfmri.evidence.tables import Table, to_csv, to_latex, to_markdown
from stfmri.files import private_dir, replacing, write_atomic


def write_results(results: Results, folder: Path) -> Path:
    """Write everything that the sweep says.

    Args:
        results: the estimates.
        folder: `results/<sweep>`, made where it is missing, readable by its owner alone.

    Returns:
        Path of `report.html`.
    """
    tables = content.all_tables(results)
    misclassified = _misclassified(results)
    hardest = listings.hardest_table(results.evidence)
    lists = [misclassified, hardest] if misclassified else [hardest]
    for table in [*tables, *lists]:
        _write_table(table, folder / "tables")
    embedded = []
    for drawn in figures.draw_all(results):
        _write_bytes(folder / "figures" / f"{drawn.name}.png", style.to_png(drawn.figure))
        _write_bytes(folder / "figures" / f"{drawn.name}.pdf", style.to_pdf(drawn.figure))
        svg = style.to_svg(drawn.figure)
        embedded.append(report.EmbeddedFigure(drawn.name, drawn.title, drawn.caption, svg))
    summary = json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "summary.json", summary + "\n")
    path = folder / "report.html"
    write_atomic(path, report.render(results, tables, embedded, misclassified, hardest))
    return path


def _misclassified(results: Results) -> Table | None:
    """The mistakes of the leading variant, read again from its runs."""
    leader = results.leader
    if leader is None:
        return None
    runs = [
        record.run
        for record in results.evidence.records
        if record.run.variant == leader.tally.name and not record.missing_because
    ]
    read = [read_run(run, results.evidence.cohort) for run in runs]
    return listings.misclassified_table(read, leader.tally.label)


def _write_table(table: Table, folder: Path) -> None:
    """One table in its three forms."""
    write_atomic(folder / f"{table.name}.csv", to_csv(table))
    write_atomic(folder / f"{table.name}.md", to_markdown(table))
    write_atomic(folder / f"{table.name}.tex", to_latex(table))


def _write_bytes(path: Path, data: bytes) -> None:
    private_dir(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
