"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's answer."""

    status: str  # ok | warn | fail
    what: str
    found: str
    fix: str = ""
