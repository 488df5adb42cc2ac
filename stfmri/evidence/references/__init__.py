"""Published studies whose printed figures a report may show beside its own: one record each."""

from __future__ import annotations

from collections.abc import Mapping

from stfmri.evidence.references import chatterjee2022
from stfmri.evidence.references.record import PrintedScores, PublishedResult, Reference
from stfmri.study.errors import ConfigError

__all__ = ["REFERENCES", "PrintedScores", "PublishedResult", "Reference", "get", "their_place"]

REFERENCES: Mapping[str, Reference] = {
    reference.name: reference for reference in (chatterjee2022.REFERENCE,)
}


def get(name: str) -> Reference | None:
    """The study that `reference.name` names; None for the empty name.

    Raises:
        ConfigError: if there is no such study.
    """
    if not name:
        return None
    if name not in REFERENCES:
        raise ConfigError(
            f"reference.name must be one of {', '.join(sorted(REFERENCES))}, or empty for none; "
            f"found {name!r}"
        )
    return REFERENCES[name]


def their_place(reference: Reference | None, key: str, part: str = "") -> str:
    """The end of a title, such as " (their Table 2)"; empty without a study or a place in it."""
    place = reference.place(key, part) if reference else ""
    return f" (their {place})" if place else ""
