"""Numbers and lists as a paper prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOT_RECORDED = "not recorded"


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
