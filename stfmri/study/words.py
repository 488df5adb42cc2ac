"""Numbers and lists as a sentence has them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def counted(count: int) -> str:
    """One, two … nine, 10, 11."""
    return WORDS[count] if 0 < count < len(WORDS) else str(count)


def percent(share: float) -> str:
    """30 %."""
    return f"{100 * share:.0f} %"


def enumerated(items: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; nothing of an empty list."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def listed(items: Sequence[object], most: int = 5) -> str:
    """`a, b and c`; of many, the first and how many more."""
    texts = [str(item) for item in items]
    more = [f"{len(texts) - most} more"] if len(texts) > most else []
    return enumerated([*texts[:most], *more])


def plural(count: int, one: str, many: str = "") -> str:
    """`1 fold`, `1,204 folds`, `2 studies` with `many` given."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ranged(counts: Collection[int], one: str) -> str:
    """`60 epochs`, or `38 to 40 epochs`; of at least one count."""
    low, high = min(counts), max(counts)
    return plural(high, one) if low == high else f"{low:,} to {plural(high, one)}"


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """`; did you mean sfcn?` where a known word is much like the one found; else nothing."""
    close = difflib.get_close_matches(found, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
