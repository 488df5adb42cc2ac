"""Results on disk: tables, figures, summary.json, and the report last."""

from __future__ import annotations

import json
import re
from pathlib import Path

from stfmri.evidence import figures, list_tables, report, score_tables
from stfmri.evidence.figures.from_results import drawable_of
from stfmri.evidence.summary import Results, as_json
from stfmri.evidence.tables import Table, to_csv, to_latex, to_markdown
from stfmri.evidence.tallies import read_run
from stfmri.study.files import private_dir, replacing, write_atomic

# What a collection can have written, and a later one may delete: no name leads elsewhere.
OWN_FILE = re.compile(r"((tables|figures)/)?[A-Za-z0-9_][A-Za-z0-9._+-]*")


class Folder:
    """The results folder, and the record of which files in it are a collection's own.

    A later collection may write fewer tables and figures (another leader, other classes, runs that
    were missing): what the record names and it did not write goes. Nothing else is ever deleted.
    """

    def __init__(self, path: Path, record: Path) -> None:
        """Start a collection into `path`; `record` lists what earlier ones wrote, a line each."""
        self.path = path
        self._record = record
        self._written: list[str] = []
        self._earlier = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []

    def write(self, name: str, data: str | bytes) -> None:
        """Write one file, text as UTF-8; a reader sees the old file or the whole new one.

        Args:
            name: relative to the folder, such as `tables/cohort.csv`.
        """
        # On record first: what a kill leaves behind is known to the next collection.
        private_dir(self._record.parent)
        with self._record.open("a", encoding="utf-8") as record:
            record.write(f"{name}\n")
        self._written.append(name)
        with replacing(self.path / name) as temporary:
            temporary.write_bytes(data.encode() if isinstance(data, str) else data)

    def drop_others(self) -> None:
        """Delete what earlier collections wrote and this one did not."""
        for name in set(self._earlier) - set(self._written):
            if OWN_FILE.fullmatch(name):
                (self.path / name).unlink(missing_ok=True)
        write_atomic(self._record, "".join(f"{name}\n" for name in self._written))


def write_results(results: Results, path: Path, record: Path) -> Path:
    """Write everything that the sweep says.

    Args:
        results: the estimates.
        path: `results/<sweep>`, made where it is missing, readable by its owner alone.
        record: the file that lists what is written there; see `Folder`.

    Returns:
        Path of `report.html`.
    """
    folder = Folder(path, record)
    tables = score_tables.all_tables(results)
    misclassified = _misclassified(results)
    hardest = list_tables.hardest_table(results.evidence)
    lists = [misclassified, hardest] if misclassified else [hardest]
    for table in [*tables, *lists]:
        folder.write(f"tables/{table.name}.csv", to_csv(table))
        folder.write(f"tables/{table.name}.md", to_markdown(table))
        folder.write(f"tables/{table.name}.tex", to_latex(table))
    embedded = []
    for drawn in figures.draw_all(drawable_of(results)):
        folder.write(f"figures/{drawn.name}.png", figures.to_png(drawn.figure))
        folder.write(f"figures/{drawn.name}.pdf", figures.to_pdf(drawn.figure))
        if not drawn.on_page:
            continue
        svg = figures.to_svg(drawn.figure)
        embedded.append(report.EmbeddedFigure(drawn.name, drawn.title, drawn.caption, svg))
    summary = json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    folder.write("summary.json", summary + "\n")
    page = report.render(results, tables, embedded, misclassified, hardest)
    folder.write("report.html", page)
    folder.drop_others()
    return path / "report.html"


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
    return list_tables.misclassified_table(read, leader.tally.label)
