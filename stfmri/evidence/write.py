"""Results on disk: tables, figures, the report, and last summary.json, which says of what."""

from __future__ import annotations

import json
import re
from pathlib import Path

from markupsafe import Markup

from stfmri.evidence import report
from stfmri.evidence.drawing import drawable_of
from stfmri.evidence.estimates import Results
from stfmri.evidence.figures import draw_all, to_pdf, to_png
from stfmri.evidence.figures.page import picture
from stfmri.evidence.methods.method_text import as_text
from stfmri.evidence.summary_json import as_json
from stfmri.evidence.tables import to_csv, to_latex, to_markdown
from stfmri.study.files import clear_leftovers, private_dir, read_bytes, replacing, write_atomic
from stfmri.study.results import PREDICTIONS_SHA256, SUMMARY_FILE

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
        try:
            # What a kill or a disk made of it names no file of ours, and is passed over below.
            self._earlier = read_bytes(record).decode(errors="replace").splitlines()
        except FileNotFoundError:
            self._earlier = []
        clear_leftovers([path, path / "tables", path / "figures", record.parent])

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

    def write_last(self, name: str, data: str) -> None:
        """Write the file that marks the others as complete, once nothing else is left to do.

        What earlier collections wrote and this one did not is deleted before.
        """
        kept = [*self._written, name]
        for other in set(self._earlier) - set(kept):
            if OWN_FILE.fullmatch(other):
                (self.path / other).unlink(missing_ok=True)
        self.write(name, data)
        write_atomic(self._record, "".join(f"{one}\n" for one in kept))


def write_results(
    results: Results, path: Path, record: Path, *, predictions_sha256: str = ""
) -> Path:
    """Write everything that the sweep says.

    Args:
        results: the estimates.
        path: `results/<sweep>`, made where it is missing, readable by its owner alone.
        record: the file that lists what is written there; see `Folder`.
        predictions_sha256: of the predictions that the results are made from.

    Returns:
        Path of `report.html`.
    """
    folder = Folder(path, record)
    texts = report.texts_of(results)
    tables = report.tables_of(results, texts)
    for table in tables:
        folder.write(f"tables/{table.name}.csv", to_csv(table))
        folder.write(f"tables/{table.name}.md", to_markdown(table))
        folder.write(f"tables/{table.name}.tex", to_latex(table))
    embedded = []
    for kind, drawn in draw_all(drawable_of(results)):
        folder.write(f"figures/{drawn.name}.png", to_png(drawn.figure))
        folder.write(f"figures/{drawn.name}.pdf", to_pdf(drawn.figure))
        if drawn.on_page:
            html = Markup(picture(drawn))
            embedded.append(
                report.EmbeddedFigure(kind.name, drawn.name, drawn.title, drawn.caption, html)
            )
    if texts.paragraphs:
        folder.write("methods.txt", as_text(texts.paragraphs))
    folder.write("report.html", report.render(results, texts, tables, embedded))
    content = {PREDICTIONS_SHA256: predictions_sha256} if predictions_sha256 else {}
    content |= as_json(results)
    summary = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    folder.write_last(SUMMARY_FILE, summary + "\n")
    return path / "report.html"
