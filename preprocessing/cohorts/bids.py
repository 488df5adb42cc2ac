"""A BIDS dataset, raw or derivative: `sub-<label>/[ses-<label>/]anat/sub-…_T1w.nii(.gz)` …

Each session is a scan; a subject without sessions is one. Labels come from `participants.tsv`.

The names are read here rather than by ancpbids or pybids: only the anatomical files' entities are
wanted, which are pairs joined by underscores, while those load the whole dataset with every
functional file and derivative, and refuse or skip what the validator would.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohorts.contrasts import CONTRASTS, canonical, channels, pick
from preprocessing.cohorts.folders import NIFTI_SUFFIXES, nifti_files, subfolders
from preprocessing.cohorts.labels import joined, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan, path_columns
from preprocessing.cohorts.sheet import read_sheet
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError
from stfmri.study.files import read_text

FOLDER = Key("folder", "DIR", "the folder that holds sub-<label> and participants.tsv")
PARTICIPANTS = "participants.tsv"
DEFAULT = "t1"


@dataclass(frozen=True)
class Name:
    """A file's name: `sub-01_ses-1_ce-gd_T1w` has three entities and the suffix T1w."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def contrast(self) -> str:
        """The contrast that it holds; a T1w scan with an agent (`ce-`) is a T1ce."""
        name = canonical(self.suffix)
        return "t1ce" if name == "t1" and "ce" in self.entities else name


def find(data: DataConfig) -> list[Scan]:
    """Scans of each session, their classes from `participants.tsv` or `data.table`."""
    folder = FOLDER.folder(data)
    sessions = {
        place: names
        for subject in subfolders(folder)
        if subject.name.startswith("sub-")
        for place, names in _sessions(subject).items()
    }
    if not sessions:
        raise UserError(f"data.folder must be {FOLDER.what}; {folder} holds no folders sub-<label>")
    held = _held(sessions.values(), data)
    if not data.contrasts and DEFAULT not in held:
        found = f"choose data.contrasts of {', '.join(held)}" if held else "nor any other"
        raise UserError(f"{folder} holds no scan sub-…/anat/sub-…_T1w.nii.gz; {found}")
    wanted = channels(data, held, DEFAULT, str(folder))
    scans = [_scan(folder, place, names, wanted, data) for place, names in sessions.items()]
    if data.table:
        return with_table(scans, data)
    return joined(scans, read_sheet(_participants(folder, data.label), "data.folder"), data)


def parse(path: Path, stem: str) -> Name:
    """The entities and the suffix of a name without its extension."""
    *pairs, suffix = stem.split("_")
    return Name(path, dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix)


def _sessions(subject: Path) -> dict[Path, list[Name]]:
    """Session → its anatomical files; a subject without any is one session without files."""
    places = [place for place in subfolders(subject) if place.name.startswith("ses-")]
    found = {place: _anatomical(place / "anat") for place in (subject, *places)}
    return {place: names for place, names in found.items() if names} or {subject: []}


def _anatomical(folder: Path) -> list[Name]:
    if not folder.is_dir():
        return []
    return [parse(path, stem) for stem, path in nifti_files(folder).items()]


def _held(sessions: Iterable[Sequence[Name]], data: DataConfig) -> list[str]:
    """The contrasts that the dataset holds, and of others those that were asked for."""
    found = {name.contrast for names in sessions for name in names}
    asked = [canonical(name) for name in data.contrasts]
    return [name for name in dict.fromkeys([*CONTRASTS, *asked]) if name in found]


def _scan(
    folder: Path,
    place: Path,
    names: Sequence[Name],
    wanted: Mapping[str, str],
    data: DataConfig,
) -> Scan:
    groups: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        groups[name.contrast].append(name)
    files = {contrast: [name.path for name in _native(group)] for contrast, group in groups.items()}
    by_path = {name.path: name for name in names}
    paths, fault = pick(
        files, wanted, place / "anat", lambda doubled: _advice([by_path[path] for path in doubled])
    )
    first = by_path[next(iter(paths.values()))] if paths else None
    parts = place.relative_to(folder).parts
    return Scan(
        subject_id="_".join(parts),
        patient_id=parts[0],
        source=folder.name,
        label="",
        paths=paths,
        mask=_mask(first, names) if first else None,
        stripped=_is_stripped(first.path, data.stripped) if first else data.stripped,
        columns=path_columns(paths),
        fault=fault,
    )


def _native(names: Sequence[Name]) -> list[Name]:
    """The files on the scanner's own grid; where there are none, those in another space."""
    return [name for name in names if "space" not in name.entities] or list(names)


def _advice(names: Sequence[Name]) -> str:
    keys = sorted({key for name in names for key in name.entities})
    differing = [key for key in keys if len({name.entities.get(key) for name in names}) > 1]
    return (
        f"they differ in {', '.join(differing)}; keep one of them, or list the scans in a table "
        "(data=table)"
    )


def _mask(scan: Name, names: Sequence[Name]) -> Path | None:
    """The brain mask of a derivative, on the scan's own entities; None where not exactly one is."""

    def without_kind(name: Name) -> dict[str, str]:
        return {key: value for key, value in name.entities.items() if key not in ("desc", "label")}

    found = [
        name.path
        for name in names
        if name.suffix == "mask"
        and "brain" in (name.entities.get("desc"), name.entities.get("label"))
        and without_kind(name) == without_kind(scan)
    ]
    return found[0] if len(found) == 1 else None


def _is_stripped(scan: Path, otherwise: bool) -> bool:
    """What the file beside a derivative says (`SkullStripped`), which BIDS requires there."""
    stem = next(scan.name.removesuffix(end) for end in NIFTI_SUFFIXES if scan.name.endswith(end))
    sidecar = scan.with_name(f"{stem}.json")
    if not sidecar.is_file():
        return otherwise
    try:
        said = json.loads(read_text(sidecar))
    except (ValueError, RecursionError):
        return otherwise
    value = said.get("SkullStripped") if isinstance(said, dict) else None
    return value if isinstance(value, bool) else otherwise


def _participants(folder: Path, label: str) -> Path:
    """`participants.tsv` of the dataset; of a derivative without one, of the raw data above it."""
    raw = [folder.parent.parent] if folder.parent.name == "derivatives" else []
    for place in (folder, *raw):
        if (place / PARTICIPANTS).exists():
            return place / PARTICIPANTS
    raise UserError(
        f"data.folder: {folder} has no {PARTICIPANTS}, which must list participant_id (sub-…) and "
        f"{label}, separated by tabs; or name another table of labels with data.table=FILE"
    )


LAYOUT = Layout("bids", "BIDS, raw or derivative; labels from participants.tsv", (FOLDER,), find)
