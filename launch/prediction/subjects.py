"""Whose scans are asked about: files on the command line, or the rows of a cohort table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preprocessing.cohorts import Scan, find_scans
from preprocessing.cohorts.contrasts import CONTRASTS, canonical
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError
from stfmri.study.files import absolute
from stfmri.study.words import listed


def of_words(
    words: Sequence[str], data: DataConfig, mask: Path | None, stripped: bool
) -> list[Scan]:
    """The subjects of the command line.

    Args:
        words: a path each, or `contrast=path` for a run of several contrasts.
        data: of the run.
        mask: of the one subject, on its first file's grid; None for none.
        stripped: whether everything but the brain is background.

    Raises:
        UserError: where a word names none of the run's contrasts, a subject lacks one, or a mask
            comes with several subjects.
    """
    found = files_of(words, data)
    if mask is not None and len(found) != 1:
        raise UserError(f"--mask is the brain of one subject, found {len(found)} subjects")
    return [
        Scan(
            subject_id=str(next(iter(files.values()))),
            patient_id=str(next(iter(files.values()))),
            source="",
            label="",
            paths=files,
            mask=None if mask is None else absolute(mask),
            stripped=stripped,
        )
        for files in found
    ]


def of_table(
    table: Path, data: DataConfig, label: str | None, classes: Sequence[str], stripped: bool
) -> list[Scan]:
    """The subjects of a labelled cohort table, as `python -m preprocessing` reads it.

    Args:
        data: of the run, whose contrasts are asked for.
        label: the column of the class; None: the run's own.
        classes: of the run.
        stripped: what holds where the table has no column `stripped`.

    Raises:
        UserError: where the table cannot be read, or names a class that the run does not know.
    """
    wanted = DataConfig(
        kind="table",
        name=data.name,
        label=label or data.label,
        contrasts=data.contrasts,
        missing=data.missing,
        table=str(absolute(table)),
        stripped=stripped,
    )
    scans = find_scans(wanted)
    if unknown := sorted({scan.label for scan in scans if scan.label} - set(classes)):
        raise UserError(
            f"{table}: the column {wanted.label} must hold {', '.join(classes)}, which the run "
            f"tells apart; found {listed(unknown)} (another column: --label)"
        )
    return scans


def files_of(words: Sequence[str], data: DataConfig) -> list[dict[str, Path]]:
    """The files of each subject by contrast, in the order of the network's channels.

    Raises:
        UserError: where a word names none of the run's contrasts, or a subject lacks one: of
            several subjects nobody could tell whose the next file is.
    """
    contrasts = data.channels
    if len(contrasts) == 1:
        return [_only_file(word, data) for word in words]
    found: list[dict[str, Path]] = []
    for word in words:
        contrast, equals, path = word.partition("=")
        if not equals or contrast not in contrasts:
            raise UserError(
                f"the run was trained on {', '.join(contrasts)}: expected "
                f"{' '.join(f'{name}=FILE' for name in contrasts)}, found {word}"
            )
        if not found or contrast in found[-1]:
            found.append({})
        found[-1][contrast] = absolute(path)
    lacking = [files for files in found if len(files) < len(contrasts)]
    if lacking and (len(found) > 1 or data.missing != "zeros"):
        absent = [name for name in contrasts if name not in lacking[0]]
        raise UserError(
            f"{' '.join(f'{name}={path}' for name, path in lacking[0].items())} lacks "
            f"{', '.join(absent)}: each subject needs {', '.join(contrasts)}"
        )
    return [{name: files[name] for name in contrasts if name in files} for files in found]


def _only_file(word: str, data: DataConfig) -> dict[str, Path]:
    """The file of a run with one contrast, whose name may be left out."""
    [only] = data.channels
    name, equals, path = word.partition("=")
    if equals and name == only:
        return {only: absolute(path)}
    if equals and canonical(name) in CONTRASTS and not absolute(word).exists():
        trained = only if data.contrasts else "one contrast, which its cohort does not name"
        raise UserError(f"the run was trained on {trained}: expected FILE, found {word}")
    return {only: absolute(word)}
