"""Contrasts: one name for each, whatever the data set calls it, and the files that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from preprocessing.cohorts.scan import SCAN
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError
from stfmri.study.words import listed

# Each contrast and its other names, in lower case.
CONTRASTS = {
    "t1": ("t1n", "t1w"),
    "t1ce": ("t1c", "t1gd", "t1post", "t1w+ce", "t1wce", "t1w_ce"),
    "t2": ("t2w",),
    "flair": ("t2f", "t2flair"),
    "pd": ("pdw",),
}
_NAMES = {alias: name for name, aliases in CONTRASTS.items() for alias in (name, *aliases)}


def canonical(name: str) -> str:
    """The one name of a contrast; of a contrast not listed here, its own in lower case."""
    return _NAMES.get(name.lower(), name.lower())


def channels(data: DataConfig, held: Iterable[str], default: str, what: str) -> dict[str, str]:
    """Which contrast each channel of a volume takes.

    Args:
        held: the contrasts there are.
        default: the contrast to take where `data.contrasts` names none.
        what: who holds them, for the message.

    Returns:
        Channel, as `data.contrasts` calls it → contrast; in the order of the channels.

    Raises:
        ConfigError: where a contrast is not held, or is named twice.
    """
    held = tuple(held)
    if not data.contrasts:
        return {SCAN: default}
    found = {name: canonical(name) for name in data.contrasts}
    unknown = [name for name, contrast in found.items() if contrast not in held]
    if unknown:
        raise ConfigError(
            f"data.contrasts: {', '.join(unknown)} unknown; {what} holds {', '.join(held)}"
        )
    if len(set(found.values())) < len(found):
        raise ConfigError(
            f"data.contrasts names one contrast by two names: {', '.join(data.contrasts)}"
        )
    return found


def pick(
    files: Mapping[str, Sequence[Path]],
    wanted: Mapping[str, str],
    place: Path,
    advice: Callable[[Sequence[Path]], str] = lambda _: "keep one of them",
) -> tuple[dict[str, Path], str]:
    """The file of each channel that a subject has.

    Args:
        files: contrast → the subject's files of it.
        wanted: channel → contrast.
        place: the folder where they were looked for.
        advice: what to do about several files for one contrast.

    Returns:
        Channel → file, and why the subject cannot be used (empty for no reason).
    """
    doubled = [name for name in wanted.values() if len(files.get(name, ())) > 1]
    if doubled:
        paths = sorted(files[doubled[0]])
        names = listed([path.name for path in paths])
        return {}, f"{len(paths)} files for {doubled[0]}, {names}: {advice(paths)}"
    found = {channel: files[name][0] for channel, name in wanted.items() if files.get(name)}
    return found, "" if found else f"no {' and no '.join(wanted.values())} in {place}"
