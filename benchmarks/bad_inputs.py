"""Bad input of every kind: each is refused in a line that names it, and nothing is lost.

A small study of synthetic heads is built and trained. For each kind of bad input, a copy of it is
spoilt and one command is called on it, as a user would. It must end by itself with status 1 or 2,
without a traceback, saying what is wrong in one line; and every other file must be as it was. One
scan that cannot be used is left out, and the others are built.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bad_input_cases import CASES, NAME, OWN_FILES, SCANS, SETTINGS, TABLES, Case, Study
from common import Row, new_parser, publish, said_on_stderr, seconds_text

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_S = 120.0  # a command that takes longer waits for something that never comes
LARGE = 2**20  # bytes; larger files are shared by the copies, and told by their time
# What a command may write before it can know.
PASSING = ("metrics.csv", "train.err", "rejected.csv")
CHOICES = (
    *("data=table", f"data.name={NAME}", "data.classes=[LGG,HGG]", "data.folder=null"),
    *("split.n=1", "train.epochs=1", "train.threads=1", "sweep.models=[mc3_18]"),
    *("sweep.baselines=[]", "cluster=local"),
)
GROUPS = {"tables": TABLES, "scans and masks": SCANS, "settings": SETTINGS, "own files": OWN_FILES}


def _choices(study: Study) -> list[str]:
    return [*CHOICES, f"data.table={study.table}"]


COMMANDS: dict[str, Callable[[Study], list[str]]] = {
    "preprocess": lambda study: [
        *("-m", "preprocessing", "--sweep", "demo", "--root", str(study.root), "--jobs", "1"),
        *_choices(study),
    ],
    "submit": lambda study: [
        *("launch/submit.py", "--sweep", "demo", "--name", NAME, "--root", str(study.root)),
        *_choices(study),
    ],
    "status": lambda study: ["launch/status.py", "--sweep", NAME, "--root", str(study.root)],
    "collect": lambda study: ["-m", "stfmri.collect", "--sweep", NAME, "--root", str(study.root)],
    "train": lambda study: ["-m", "stfmri.train", "--config", str(study.run / "config.yaml")],
    "predict": lambda study: [
        *("launch/predict.py", "--run", str(study.run), "--stripped", str(study.scan)),
    ],
    "report": lambda study: [
        *("-m", "stfmri.evidence", str(study.run / "predictions.csv")),
        *("--out", str(study.root / "report")),
    ],
}


def call(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of this repository.

    Raises:
        subprocess.TimeoutExpired: where it does not end by itself.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def build(root: Path) -> Study:
    """A study of ten heads, preprocessed, trained and collected."""
    heads = root / "phantoms"
    made = ["-m", "preprocessing.phantom", "--out", str(heads), "--spacing", "8", "--healthy", "0"]
    _must(call([*made, "--lgg", "5", "--hgg", "5", "--jobs", "1"]))
    scans = root / "scans"
    scans.mkdir()
    lines = ["subject_id,path,label,stripped"]
    for file in sorted(heads.rglob("*_t1ce.nii*")):
        name = file.parent.name
        (scans / f"{name}.nii.gz").write_bytes(file.read_bytes())
        lines.append(f"{name},scans/{name}.nii.gz,{file.parent.parent.name},true")
    (root / "cohort.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(heads)
    study = Study(root, lines[1].partition(",")[0])
    for command in ("preprocess", "submit"):
        _must(call(COMMANDS[command](study)))
    return study


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise RuntimeError(f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def copied(study: Study, target: Path) -> Study:
    """The same study elsewhere; large files are shared with it."""

    def copy(source: str, name: str) -> None:
        if Path(source).stat().st_size > LARGE:
            os.link(source, name)
        else:
            shutil.copy2(source, name)

    shutil.copytree(study.root, target, copy_function=copy)
    for file in target.rglob("*.yaml"):  # where it lies is written there
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(str(study.root), str(target)), encoding="utf-8")
    return Study(target, study.subject)


def contents(folder: Path) -> dict[Path, str]:
    """What every file holds, by its path within the folder."""
    found = {}
    for path in folder.rglob("*"):
        said = path.lstat()
        if stat.S_ISREG(said.st_mode) and path.name not in PASSING:
            large = f"{said.st_size} {said.st_mtime_ns}" if said.st_size > LARGE else ""
            found[path.relative_to(folder)] = large or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def fault_of(case: Case, study: Study) -> str:
    """What the program did wrong with this input; empty where it did everything right."""
    case.spoil(study)
    before = contents(study.root)
    try:
        done = call([*COMMANDS[case.command](study), *case.typed])
    except subprocess.TimeoutExpired:
        return f"did not end in {LIMIT_S:.0f} s"
    said = f"{done.stdout}\n{done.stderr}"
    if done.returncode not in (1, 2):
        return f"ended with status {done.returncode}: {said[-300:]}"
    if "Traceback" in said:
        return f"traceback: {said.splitlines()[-1]}"
    if case.rejects:
        return _rejection_fault(case, study, said)
    told = [line for line in done.stderr.splitlines() if line.startswith(("error:", "incomplete:"))]
    if len(told) != 1 or case.says not in said:
        return f"expected one line that names {case.says!r}, found {done.stderr[-300:]!r}"
    after = contents(study.root)
    changed = [path for path in before if after.get(path) != before[path]]
    return f"changed or lost {changed}; made {after.keys() - before}" if before != after else ""


def _rejection_fault(case: Case, study: Study, said: str) -> str:
    told = [line for line in said.splitlines() if line.startswith(f"rejected {study.subject}:")]
    if len(told) != 1 or case.says not in told[0]:
        return f"expected one line that names {case.says!r}, found {said[-300:]!r}"
    with study.table.open(encoding="utf-8", newline="") as file:
        wanted = {line["subject_id"] for line in csv.DictReader(file)} - {study.subject}
    with (study.cache / "index.csv").open(encoding="utf-8", newline="") as file:
        built = {line["subject_id"] for line in csv.DictReader(file)}
    return f"the index lacks {wanted - built}, has {built - wanted}" if built != wanted else ""


def main() -> int:
    """Try every case; print what went wrong, then the table."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this")
    options = parser.parse_args()
    chosen = [case for case in CASES if options.only in case.name]
    chosen = chosen[:: max(1, len(chosen) // 4)] if options.quick else chosen
    faults: dict[str, str] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        with said_on_stderr("a small study is built"):
            study = build(_made(Path(name) / "study"))
        for number, case in enumerate(chosen):
            spoilt = copied(study, Path(name) / f"case{number}")
            fault = fault_of(case, spoilt)
            shutil.rmtree(spoilt.root)
            print(f"{fault or 'ok'}: {case.command}, {case.name}", file=sys.stderr, flush=True)
            if fault:
                faults[case.name] = fault
    rows = []
    for group, cases in GROUPS.items():
        tried = [case for case in cases if case in chosen]
        refused = sum(case.name not in faults for case in tried)
        mark = f"{len(tried)}"
        rows.append(
            Row(
                f"{group}, refused as they should",
                f"{refused}",
                mark=mark,
                met=refused == len(tried),
            )
        )
    notes = [f"{name}: {fault}" for name, fault in faults.items()]
    notes.append(f"{len(chosen)} kinds in {seconds_text(time.perf_counter() - started)}.")
    return publish("bad inputs", rows, quick=options.quick, packages=("torch",), notes=notes)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
