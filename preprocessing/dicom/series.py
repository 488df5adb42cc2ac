"""Group images into series, and say which of them are structural scans of a head."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from preprocessing.dicom.contrast import other_purpose
from preprocessing.dicom.geometry import Geometry, geometry
from preprocessing.dicom.headers import Header

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
OLDEST = 90  # ages above are few enough to tell who it is
PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}  # units of an age in a year
MAKERS = {
    "siemens": "Siemens",
    "ge ": "GE",
    "philips": "Philips",
    "toshiba": "Toshiba",
    "canon": "Canon",
    "hitachi": "Hitachi",
    "uih": "UIH",
    "united imaging": "UIH",
    "fonar": "Fonar",
    "hyperfine": "Hyperfine",
}
UNKNOWN_SOURCE = "unknown-scanner"


@dataclass(frozen=True)
class Series:
    """The images of one series, each once.

    Attributes:
        headers: in the order of the images' ids; several for a classic series, one for an enhanced.
        geometry: the volume they make.
        obstacle: why the series is left out unless the user says otherwise; '' for none.
    """

    headers: tuple[Header, ...]
    geometry: Geometry
    obstacle: str

    @property
    def first(self) -> Header:
        """An image that stands for the series."""
        return self.headers[0]


def group(headers: Iterable[Header]) -> list[Series]:
    """Series by patient, date and number. The same image, exported twice, counts once."""
    images: dict[tuple[str, str, str], dict[str, Header]] = defaultdict(dict)
    for header in headers:
        images[header.series_key].setdefault(header.instance, header)
    grouped = [_series([found[name] for name in sorted(found)]) for found in images.values()]
    return sorted(
        grouped, key=lambda s: (s.first.patient, s.first.date, s.first.number, s.first.series)
    )


def _series(headers: list[Header]) -> Series:
    volume = geometry(headers)
    obstacle = _obstacle(headers[0]) or volume.fault
    return Series(tuple(headers), volume, obstacle)


def _obstacle(header: Header) -> str:
    """Why the images of a series are no structural scan, by the header's own statements."""
    kinds = set(header.image_type)
    if f"{header.sop_class}.".startswith(f"{SECONDARY_CAPTURE}.") or header.samples != 1:
        return "secondary capture"
    if header.modality != "MR":
        return f"not MR but {safe_words(header.modality)[:4] or 'unknown'}"
    if header.burned_in:
        return "text burned into the images"
    if "LOCALIZER" in kinds:
        return "localiser"
    purpose = other_purpose(header)
    if purpose:
        return purpose
    if kinds & {"DERIVED", "SECONDARY", "MPR", "REFORMATTED", "SUBTRACTION"}:
        return "derived images"
    part = kinds & {"P", "PHASE", "PHASE MAP", "VELOCITY", "R", "REAL", "I", "IMAGINARY"}
    return "phase, real or imaginary part" if part else ""


def source(header: Header) -> str:
    """Manufacturer, model and field strength, such as Siemens-Prisma-fit-3T; never the place."""
    low = f"{header.manufacturer.lower()} "
    maker = next((name for start, name in MAKERS.items() if low.startswith(start)), "")
    parts = [maker, safe_words(header.model) if maker else "", _tesla(header.field_t)]
    return "-".join(part for part in parts if part) or UNKNOWN_SOURCE


def age(header: Header) -> str:
    """Whole years at the scan, 90 for all above; '' where the header does not say."""
    text = header.age
    if text == "000Y":  # what some anonymisations write
        return ""
    if text[:-1].isdigit() and text[-1] in PER_YEAR:
        return str(min(int(int(text[:-1]) / PER_YEAR[text[-1]]), OLDEST))
    dates = (header.birth, header.date)
    if all(len(date) == 8 and date.isdigit() for date in dates) and dates[0] < dates[1]:
        # YYYYMMDD: the difference of two dates as numbers has the full years in front.
        return str(min((int(dates[1]) - int(dates[0])) // 10_000, OLDEST))
    return ""


def sex(header: Header) -> str:
    """M or F; '' for anything else."""
    return header.sex if header.sex in ("M", "F") else ""


def safe_words(text: str) -> str:
    """Letters and digits of a header's field, in words joined by `-`, 30 characters at most."""
    plain = "".join(sign if sign.isascii() and sign.isalnum() else " " for sign in text)
    return "-".join(plain.split())[:30]


def _tesla(field: float | None) -> str:
    if not field or field <= 0:
        return ""
    tesla = field / 10_000 if field > 100 else field  # some old headers give gauss
    return f"{round(tesla, 1):g}T"
