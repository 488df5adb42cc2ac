"""Look at a cohort, say what it holds, and write the sweep file of a study that fits it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from launch.cautions import accuracy_margin, cautions
from launch.class_column import cut, refuse_too_many, require_class_column
from launch.cli import console, entry_point, new_parser, root_of
from launch.study_file import BASE, MARK, here, overrides_of, settings_for, sweep_text
from preprocessing.cohorts import LAYOUTS
from preprocessing.cohorts.sheet import read_sheet
from stfmri.study.compose import CONF, compose, parse_overrides
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import absolute, safe_name, write_atomic
from stfmri.study.sweep_file import SWEEP_FILE, sweep_folder
from stfmri.study.words import listed, percent, plural

if TYPE_CHECKING:
    from preprocessing.cohorts.survey import Survey

DEFAULT_NAME = "mine"
EPILOG = """\
examples:
  python launch/new.py cohort.csv --label sex
  python launch/new.py cohort.xlsx --label diagnosis --name dementia
  python launch/new.py cohort.csv --label age --cut 40 60
  python launch/new.py data=bids data.folder=~/study --label group --name study

cohort.csv is short for data=table data.table=cohort.csv; conf/data/ has the other layouts. The
sweep file, conf/sweep/NAME.yaml, is yours to edit; nothing is computed yet. From then on
--sweep NAME is all that the other commands need.

exit status: 0 written; 1 conf/ cannot be written to; 2 the call was wrong, or there is no study in
the table"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = new_parser("new", __doc__ or "", EPILOG)
    made.add_argument("cohort", nargs="+", metavar="TABLE|key=value", help="see the examples")
    made.add_argument("--label", metavar="COLUMN", help="the column of the class")
    made.add_argument(
        "--cut",
        nargs="+",
        type=float,
        metavar="NUMBER",
        help="make classes of a column of numbers: below the first, up to the second, and so on; "
        "they are written to a copy of the table",
    )
    made.add_argument(
        "--name", default=DEFAULT_NAME, help=f"of the sweep (default: {DEFAULT_NAME})"
    )
    made.add_argument("--force", action="store_true", help="replace the sweep file of that name")
    return made


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Survey, warn, choose, write."""
    options = parser().parse_intermixed_args(arguments)
    root = root_of(options)
    name = safe_name(options.name, "--name")
    file = CONF / "sweep" / f"{name}.yaml"
    refuse_to_replace(file, root, force=options.force)
    config, typed = _configuration(options, root)
    # Reading scans takes SciPy, which takes seconds to import where the disk is slow.
    from preprocessing.cohorts.survey import survey

    out = console()
    found = survey(config.data)
    if len(found.classes) < 2:
        raise UserError(
            f"every subject of {_place(config.data)} is of the class {next(iter(found.classes))!r} "
            f"(column {config.data.label}); a study needs two"
        )
    show(out, config.data, found)
    for line in cautions(found, config.data):
        out.print(f"caution: {line}", style="yellow", soft_wrap=True)
    base = compose([], sweep=BASE, root=root)
    settings = settings_for(found, config.data, base, here(), typed)
    where = [] if options.root == Path() else ["--root", str(options.root)]
    if not os.access(file.parent, os.W_OK):
        out.print(f"{file.parent} cannot be written to, so the settings follow as overrides:")
        words = ["--sweep", BASE, *where, *overrides_of(config.data, settings)]
        _print_commands(out, words, ["--name", name], name, where)
        return 1
    write_atomic(file, sweep_text(name, found, config.data, settings, date.today().isoformat()))
    out.print(f"\nwrote {file}", style="bold", soft_wrap=True)
    _print_commands(out, ["--sweep", name, *where], [], name, where)
    return 0


def refuse_to_replace(file: Path, root: Path, *, force: bool) -> None:
    """Refuse a name that is taken.

    Raises:
        UserError: saying by what, and the way out.
    """
    name = file.stem
    if (sweep_folder(root, name) / SWEEP_FILE).is_file():
        raise UserError(
            f"{sweep_folder(root, name)} was submitted already and goes on as it began; choose "
            "another --name"
        )
    if not file.exists():
        return
    if MARK not in file.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--name {name}: {file} comes with stfmri; choose another --name")
    if not force:
        raise UserError(f"{file} is there already; choose another --name, or replace it: --force")


def show(out: Console, data: DataConfig, found: Survey) -> None:
    """Print what the cohort holds."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _facts(data, found):
        table.add_row(name, text)
    out.print(table)


def _facts(data: DataConfig, found: Survey) -> list[tuple[str, str]]:
    left_out = found.listed - found.usable
    subjects = f"{found.usable}" + (f" of {found.listed} usable" if left_out else "")
    n = found.patients
    facts = [
        ("cohort", _place(data)),
        ("scans", f"{subjects}, of {plural(n, 'patient')}"),
        ("class", f"{data.label}: {', '.join(f'{k} {v}' for k, v in found.classes.items())}"),
        ("precision", f"an accuracy near 0.7 will be known to ± {accuracy_margin(n):.2f} at best"),
    ]
    sources = [f"{name} {classes.total()}" for name, classes in found.sources.items()]
    decides = f"; decide the class to {percent(found.by_source)}" if len(sources) > 1 else ""
    facts.append(("sources", f"{listed(sources)}{decides}"))
    able = [str(column) for column in found.columns if not column.is_copy]
    facts.append(("columns", "; ".join(able) or "none that says something of a subject"))
    if found.contrasts:
        counts = ", ".join(f"{name} {count}" for name, count in found.contrasts.items())
        chosen = "+".join(data.contrasts)
        facts.append(("contrasts", counts + (f"; {chosen} is used" if chosen else "")))
    masks = f"given for {found.masks}" if found.masks else "none given"
    facts.append(("brain masks", f"{masks}; {found.stripped} scans said to be stripped"))
    read = [scan for scan in found.looked if not scan.fault]
    kinds = dict.fromkeys(
        f"{'×'.join(map(str, scan.shape))} voxels of "
        f"{'×'.join(f'{size:g}' for size in scan.voxel_mm)} mm, "
        f"{'a brain alone' if scan.looks_stripped else 'with skull'}"
        for scan in read
    )
    if kinds:
        facts.append((f"{plural(len(read), 'scan')} read", "; ".join(kinds)))
    return facts


def _configuration(options: argparse.Namespace, root: Path) -> tuple[Config, list[str]]:
    """Where the cohort is, what its class is, and which keys of `data` were typed.

    Raises:
        UserError: for a call that names no cohort or no class.
    """
    # A path may hold an equals sign, too.
    tables = [word for word in options.cohort if "=" not in word or absolute(word).is_file()]
    typed = [word for word in options.cohort if word not in tables]
    if len(tables) > 1:
        raise ConfigError(f"expected one table, found {listed(tables)}")
    if tables and absolute(tables[0]).is_dir():
        kinds = [
            layout.name
            for layout in LAYOUTS.values()
            if any(key.name == "folder" for key in layout.keys)
        ]
        raise ConfigError(
            f"expected a table, found the folder {tables[0]}; of scans in a folder say the layout, "
            f"as in data=bids data.folder={shlex.quote(tables[0])} (layouts: {', '.join(kinds)})"
        )
    if tables:
        typed = ["data=table", f"data.table={tables[0]}", *typed]
    asked = [item.key for item in parse_overrides(typed)]
    others = [key for key in asked if key.partition(".")[0] != "data"]
    if others:
        raise ConfigError(
            f"only settings of data are taken here, found {listed(others)}; edit the file that is "
            "written for the rest"
        )
    words = typed if "data.name" in asked else [*typed, f"data.name='{options.name}'"]
    label = [] if options.label is None else [f"data.label='{options.label}'"]
    config = compose([*words, *label], root=root)
    names = [key.removeprefix("data.") for key in asked if key.startswith("data.")]
    if config.data.table is not None:
        config = replace(config, data=_with_table(config.data, options))
    return config, names


def _with_table(data: DataConfig, options: argparse.Namespace) -> DataConfig:
    """The class and the contrast, as the table gives them."""
    sheet = read_sheet(Path(str(data.table)), "the cohort's table")
    require_class_column(sheet, data.label, asked=options.label is not None)
    if options.cut:
        table, label, classes = cut(sheet, data.label, options.cut)
        console().print(f"wrote {table}: the table with a column {label}", soft_wrap=True)
        data = replace(data, table=str(table), label=label, classes=tuple(classes))
    else:
        words = [*options.cohort, "--label", data.label]
        refuse_too_many(sheet, data.label, f"python launch/new.py {shlex.join(words)}")
    held = [name for name in sheet.header if name.startswith("path_")]
    if data.contrasts or data.folder or "path" in sheet.header or len(held) < 2:
        return data
    most = max(held, key=lambda name: sum(bool(row.cells[name]) for row in sheet.rows))
    return replace(data, contrasts=(most.removeprefix("path_"),))


def _place(data: DataConfig) -> str:
    return str(data.folder or data.table or data.brats)


def _print_commands(
    out: Console, words: Sequence[str], more: Sequence[str], name: str, where: Sequence[str]
) -> None:
    """Print what follows, to be copied."""
    by_name = ["--sweep", name, *where]
    steps = (
        (["python", "-m", "preprocessing", *words], "then look at qc.html, which it names"),
        (["python", "launch/submit.py", *words, *more], "trains, or submits to SLURM"),
        (["python", "launch/status.py", *by_name, "--watch"], "how far it is"),
    )
    out.print("what follows:")
    lines = [shlex.join(command) for command, _ in steps]
    width = max(map(len, lines))
    for line, (_, note) in zip(lines, steps, strict=True):
        out.print(f"  {line:{width}}  # {note}", soft_wrap=True)
    report = Path(*where[1:], "results", name, "report.html")
    out.print(f"and in the end the report, {report}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
