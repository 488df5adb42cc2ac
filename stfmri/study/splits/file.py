"""The split file: JSON with the folds and with what they were drawn from.

    {"format": 2, "kind", "label", "classes", "n", "seed", …, "val_fraction", "cohort_sha256",
     "near_duplicates": [[subject, subject, correlation] …],  of an external cohort
     "joined": [[subject, subject, correlation] …],  kept on one side, though of two patients
     "folds": [{"train": [subject …], "val": […], "test": […]} …]}

Format 1 has the same keys but for `n`, the two lists of pairs, and what kinds that came later need.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stfmri.study.duplicates import Pair
from stfmri.study.errors import UserError
from stfmri.study.files import read_text, write_atomic
from stfmri.study.splits.record import Fold

FORMAT = 2
SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class SplitFile:
    """The content of a split file.

    Attributes:
        kind: empty where an old file does not say.
        label: the column that holds the class.
        settings: every other key, as it was drawn with.
        near_duplicates: suspicious pairs with one scan in either of two cohorts.
        joined: pairs of almost the same scans that the draw kept on one side.
    """

    path: Path
    kind: str
    label: str
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    cohort_sha256: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    near_duplicates: tuple[Pair, ...] = ()
    joined: tuple[Pair, ...] = ()
    format: int = FORMAT

    @property
    def sha256(self) -> str:
        """Hash of everything that the file says, however it is laid out."""
        pairs = {"near_duplicates": self.near_duplicates, "joined": self.joined}
        return _hash(
            {
                **self.settings,
                **self._divided,
                **{key: [asdict(pair) for pair in listed] for key, listed in pairs.items()},
                "kind": self.kind,
                "label": self.label,
            }
        )

    @property
    def folds_sha256(self) -> str:
        """Hash of folds, classes and cohort alone, which sweeps of earlier versions hold."""
        return _hash(self._divided)

    @property
    def _divided(self) -> dict[str, object]:
        return {
            "classes": self.classes,
            "cohort_sha256": self.cohort_sha256,
            "folds": [asdict(fold) for fold in self.folds],
        }

    def differences(self, expected: SplitFile) -> list[str]:
        """What was drawn otherwise than `expected`, in words; the folds apart."""
        pairs: dict[str, tuple[object, object]] = {
            "kind": (self.kind, expected.kind),
            "label": (self.label, expected.label),
            "classes": (list(self.classes), list(expected.classes)),
        }
        for key, value in expected.settings.items():
            if key in self.settings or self.format == expected.format:
                pairs[key] = (self.settings.get(key), value)
        return [
            f"{key} is {there!r} there, {here!r} here"
            for key, (there, here) in pairs.items()
            if there != here
        ]


def write(split: SplitFile) -> None:
    """Write a split file, in the newest format."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": split.kind,
        "label": split.label,
        "classes": list(split.classes),
        **split.settings,
        "cohort_sha256": split.cohort_sha256,
    }
    for key, pairs in (("near_duplicates", split.near_duplicates), ("joined", split.joined)):
        if pairs:
            content[key] = [[p.subject_a, p.subject_b, p.correlation] for p in pairs]
    content["folds"] = [asdict(fold) for fold in split.folds]
    write_atomic(split.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> SplitFile:
    """Read a split file of any format, also one with no more than label, classes and folds.

    Raises:
        UserError: where it is missing, is none, or is of a later format.
    """
    try:
        content = json.loads(read_text(path))
        number = content.pop("format", 1)
        found = SplitFile(
            path=path,
            kind=str(content.pop("kind", "")),
            label=str(content.pop("label")),
            classes=_texts(content.pop("classes", ())),
            folds=tuple(_fold(fold) for fold in content.pop("folds")),
            cohort_sha256=str(content.pop("cohort_sha256", "")),
            near_duplicates=_pairs(content.pop("near_duplicates", ())),
            joined=_pairs(content.pop("joined", ())),
            format=int(number),
            settings=content,
        )
    except FileNotFoundError as error:
        raise UserError(
            f"expected the split in {path}, found no such file; submitting the sweep draws it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is no split file ({error!r}); delete it to draw it anew"
        ) from error
    if found.format not in (1, FORMAT):
        raise UserError(
            f"{path} has split format {found.format}, this program reads 1 and {FORMAT}; use the "
            "version that wrote it, or delete it to draw it anew"
        )
    return found


def require_unchanged(split: SplitFile, sha256: str) -> None:
    """Refuse a split file that is not the one a sweep was submitted with.

    Args:
        sha256: as `split.sha256` of the sweep has it; empty where it is older than the hash.

    Raises:
        UserError: naming the file.
    """
    if sha256 and sha256 not in (split.sha256, split.folds_sha256):
        raise UserError(
            f"{split.path} is not the split that this sweep was submitted with (sha256 "
            f"{split.sha256[:12]}, expected {sha256[:12]}): it was edited or drawn again since. "
            "Restore the file, or submit another sweep with --name"
        )


def _hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fold(content: Any) -> Fold:
    unknown = sorted(set(content) - set(SIDES))
    if unknown:
        raise KeyError(*unknown)
    return Fold(_texts(content["train"]), _texts(content.get("val", ())), _texts(content["test"]))


def _pairs(listed: Iterable[Any]) -> tuple[Pair, ...]:
    return tuple(Pair(str(a), str(b), float(close)) for a, b, close in listed)


def _texts(listed: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, listed))
