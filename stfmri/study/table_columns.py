"""Columns of cohort tables, as people write them."""

from __future__ import annotations

import math
import re

# Sex and age, such as `gender` and `age_at_scan`.
SEX_AND_AGE = re.compile(
    r"(patient[_ ]?)?(sex|gender|age)([_ ](at[_ ].*|years|group))?", re.IGNORECASE
)


def number_of(text: str) -> float:
    """The number that a cell holds, also one with a decimal comma; NaN where it holds none."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
