"""Find DICOM images in folders of any layout, and read the few header fields that are needed.

Identifying fields (patient, date, UIDs, descriptions) live in memory only: `pseudonyms` turns them
into names before anything is written.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".iso", ".bz2", ".xz")
TAGS = [
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID",
    "PatientID PatientName PatientBirthDate PatientSex PatientAge StudyDate",
    "Modality ImageType BurnedInAnnotation SeriesNumber InstanceNumber",
    "SeriesDescription ProtocolName SequenceName PulseSequenceName",
    "ScanningSequence EchoPulseSequence InversionRecovery AngioFlag ComplexImageComponent",
    "RepetitionTime EchoTime InversionTime ContrastBolusAgent ContrastBolusAgentSequence",
    "Manufacturer ManufacturerModelName MagneticFieldStrength",
    "Rows Columns SamplesPerPixel NumberOfFrames PixelSpacing",
    "ImagePositionPatient ImageOrientationPatient",
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence",
]
KEYWORDS: list[Any] = [keyword for line in TAGS for keyword in line.split()]
NO_AGENT = {"", "no", "none", "n", "0", "without", "nil", "no contrast", "ohne"}

# A header's own text would stand in pydicom's complaints about it.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Frame:
    """One slice: its place in DICOM's patient coordinates (mm, towards left, back, head).

    Attributes:
        position: the middle of the first pixel; None where the header lacks it.
        orientation: direction of a row, then of a column.
        echo_ms: its echo time.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    echo_ms: float | None


@dataclass(frozen=True)
class Header:
    """What one file says about its image, or its frames; times in ms, sizes in mm."""

    path: Path
    patient: str
    birth: str
    sex: str
    age: str
    date: str
    study: str
    series: str
    instance: str
    number: int
    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    burned_in: bool
    angiography: bool
    description: str
    protocol: str
    sequence: str
    scanning: tuple[str, ...]
    tr_ms: float | None
    ti_ms: float | None
    agent: bool
    manufacturer: str
    model: str
    field_t: float | None
    rows: int
    columns: int
    samples: int
    pixel_mm: tuple[float, ...]
    frames: tuple[Frame, ...]

    @property
    def series_key(self) -> tuple[str, str, str]:
        """What the images of one series have in common."""
        return self.patient, self.study, self.series


@dataclass
class Found:
    """Images, and how many files were something else."""

    headers: list[Header] = field(default_factory=list)
    not_dicom: int = 0
    archives: int = 0
    dicomdirs: int = 0
    not_images: int = 0
    unreadable: list[Path] = field(default_factory=list)


def find_headers(
    folders: Iterable[Path],
    skip: Path,
    shown: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> Found:
    """Read the header of every DICOM image under `folders`.

    Args:
        skip: a folder not to enter, the output.
        shown: wraps the files, to draw progress.
    """
    found = Found()
    for path in shown(_files(folders, skip)):
        try:
            dicom = _is_dicom(path)
            header = _read(path, found) if dicom else None
        # pydicom raises whatever a damaged file makes Python raise.
        except Exception:
            found.unreadable.append(path)
            continue
        if not dicom:
            found.not_dicom += 1
            found.archives += path.suffix.lower() in ARCHIVES
        elif header is not None:
            found.headers.append(header)
    return found


def _files(folders: Iterable[Path], skip: Path) -> Iterator[Path]:
    """Regular files in a fixed order: opening a pipe or a device would wait for ever."""
    for top in folders:
        for folder, inner, names in os.walk(top):
            inner[:] = sorted(name for name in inner if Path(folder, name).resolve() != skip)
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    if stat.S_ISREG(path.stat().st_mode):
                        yield path
                except OSError:  # a link to nowhere
                    continue


def _is_dicom(path: Path) -> bool:
    """By content: names of DICOM files end in anything or nothing."""
    with path.open("rb") as file:
        start = file.read(132)
    # Old files have no preamble and start with the identifying group, in little endian.
    return start[128:] == b"DICM" or (start[:2] == b"\x08\x00" and start[3:4] == b"\x00")


def _read(path: Path, found: Found) -> Header | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=KEYWORDS)
        meta = getattr(data, "file_meta", Dataset())
        if _text(meta, "MediaStorageSOPClassUID") == DICOMDIR_CLASS:
            found.dicomdirs += 1
            return None
        if not _text(data, "SeriesInstanceUID") or not _number(data, "Rows"):
            found.not_images += 1
            return None
        return _header(path, data)


def _header(path: Path, data: Dataset) -> Header:
    shared = _first(data, "SharedFunctionalGroupsSequence")
    timing = _first(shared, "MRTimingAndRelatedParametersSequence")
    measures = _first(shared, "PixelMeasuresSequence")
    modifier = _first(shared, "MRModifierSequence")
    pulse = _texts(data, "ScanningSequence") or _texts(data, "EchoPulseSequence")
    inverted = _text(modifier, "InversionRecovery") or _text(data, "InversionRecovery")
    inversions = _numbers(data, "InversionTime") or _numbers(modifier, "InversionTimes")
    return Header(
        path=path,
        patient=_patient(data),
        birth=_text(data, "PatientBirthDate"),
        sex=_text(data, "PatientSex").upper(),
        age=_text(data, "PatientAge").upper(),
        date=_text(data, "StudyDate"),
        study=_text(data, "StudyInstanceUID"),
        series=_text(data, "SeriesInstanceUID"),
        instance=_text(data, "SOPInstanceUID") or str(path),
        number=int(_number(data, "SeriesNumber") or 0),
        modality=_text(data, "Modality").upper(),
        sop_class=_text(data, "SOPClassUID"),
        image_type=tuple(part.upper() for part in _texts(data, "ImageType")),
        burned_in=_text(data, "BurnedInAnnotation").upper() == "YES",
        angiography=_text(data, "AngioFlag").upper() == "Y",
        description=_text(data, "SeriesDescription"),
        protocol=_text(data, "ProtocolName"),
        sequence=_text(data, "SequenceName") or _text(data, "PulseSequenceName"),
        scanning=(*(part.upper()[:2] for part in pulse), *(["IR"] if inverted == "YES" else [])),
        tr_ms=_number(data, "RepetitionTime") or _number(timing, "RepetitionTime"),
        ti_ms=inversions[0] if inversions else None,
        agent=_text(data, "ContrastBolusAgent").lower() not in NO_AGENT
        or bool(data.get("ContrastBolusAgentSequence")),
        manufacturer=_text(data, "Manufacturer"),
        model=_text(data, "ManufacturerModelName"),
        field_t=_number(data, "MagneticFieldStrength"),
        rows=int(_number(data, "Rows") or 0),
        columns=int(_number(data, "Columns") or 0),
        samples=int(_number(data, "SamplesPerPixel") or 1),
        pixel_mm=_numbers(data, "PixelSpacing") or _numbers(measures, "PixelSpacing"),
        frames=tuple(_frames(data, shared)),
    )


def _frames(data: Dataset, shared: Dataset) -> Iterator[Frame]:
    """The one frame of a classic file, or those of an enhanced one."""
    groups = data.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        count = int(_number(data, "NumberOfFrames") or 1)
        frame = Frame(
            position=_numbers(data, "ImagePositionPatient") or None,
            orientation=_numbers(data, "ImageOrientationPatient") or None,
            echo_ms=_number(data, "EchoTime"),
        )
        yield from [frame] * count
        return
    for group in groups:
        # What is the same in all frames may be in the shared group alone.
        position, orientation, echo = (
            _first(group, name) or _first(shared, name)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "MREchoSequence")
        )
        yield Frame(
            position=_numbers(position, "ImagePositionPatient") or None,
            orientation=_numbers(orientation, "ImageOrientationPatient") or None,
            echo_ms=_number(echo, "EffectiveEchoTime"),
        )


def _patient(data: Dataset) -> str:
    """Whose images these are: the id, else name and birth date, else the study by itself."""
    by_id = _text(data, "PatientID")
    if by_id:
        return by_id
    person = f"{_text(data, 'PatientName')} {_text(data, 'PatientBirthDate')}".strip()
    return f"unnamed {person or _text(data, 'StudyInstanceUID')}"


def _first(data: Dataset, keyword: str) -> Dataset:
    sequence = data.get(keyword)
    return sequence[0] if sequence else Dataset()


def _texts(data: Dataset, keyword: str) -> tuple[str, ...]:
    value = data.get(keyword)
    if value is None or value == "":
        return ()
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return tuple(str(part).strip(" \0") for part in value)


def _text(data: Dataset, keyword: str) -> str:
    value = data.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def _numbers(data: Dataset, keyword: str) -> tuple[float, ...]:
    """Every value as a number; none of them where one is not."""
    try:
        return tuple(float(text) for text in _texts(data, keyword))
    except ValueError:
        return ()


def _number(data: Dataset, keyword: str) -> float | None:
    numbers = _numbers(data, keyword)
    return numbers[0] if numbers else None
