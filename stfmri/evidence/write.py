"""Results on disk: tables, figures, summary.json, and the report last."""

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
    summary = json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    folder.write("summary.json", summary + "\n")
    if texts.paragraphs:
        folder.write("methods.txt", as_text(texts.paragraphs))
    folder.write("report.html", report.render(results, texts, tables, embedded))
    folder.drop_others()
    return path / "report.html"
