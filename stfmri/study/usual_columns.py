"""Columns that most cohort tables have, by whatever name."""

from __future__ import annotations

import re

# Sex and age, such as `gender` and `age_at_scan`.
SEX_AND_AGE = re.compile(
    r"(patient[_ ]?)?(sex|gender|age)([_ ](at[_ ].*|years|group))?", re.IGNORECASE
)
