"""What a brain extractor is: one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from preprocessing.masks import Mask
from preprocessing.nifti import Image


@dataclass(frozen=True)
class Extractor:
    """A way to find the brain in a whole head.

    Attributes:
        name: the value of `preprocessing.skullstrip`.
        label: in words, for tables and texts.
        available: what is missing here and how to mend it, in words that follow
            "preprocessing.skullstrip=<name>"; empty where nothing is.
        recipe: the method, its version and everything that its result depends on; part of every
            mask's key. It must be the same on a node that lacks the extractor, which may publish
            what others have built.
        extract: the brain of a scan, bool on the scan's own grid; raises ScanError, saying why,
            where it fails.
    """

    name: str
    label: str
    available: Callable[[], str]
    recipe: Callable[[], str]
    extract: Callable[[Image], Mask]
