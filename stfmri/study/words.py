"""Numbers and lists as a sentence has them."""

from __future__ import annotations

from collections.abc import Sequence

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def counted(count: int) -> str:
    """One, two … nine, 10, 11."""
    return WORDS[count] if 0 < count < len(WORDS) else str(count)


def percent(share: float) -> str:
    """30 %."""
    return f"{100 * share:.0f} %"


def listed(items: Sequence[object], most: int = 5) -> str:
    """`a, b and c`; of many, the first and how many more."""
    texts = [str(item) for item in items]
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def plural(count: int, what: str) -> str:
    """1 fold, 2 folds."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
