"""Numbers and lists as a paper prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOT_RECORDED = "not recorded"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 scan`, `1,204 scans`, `2 studies` with `plural` given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; nothing of an empty list."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def distinct(items: Iterable[str]) -> list[str]:
    """Each once, in the order of its first place; empty ones are left out."""
    return [item for item in dict.fromkeys(items) if item]


def capital(sentence: str) -> str:
    """The sentence with its first letter large; the rest, with names in it, as it is."""
    return sentence[:1].upper() + sentence[1:]


def spanned(numbers: Sequence[int]) -> str:
    """`26`, or `25–27` where they differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
