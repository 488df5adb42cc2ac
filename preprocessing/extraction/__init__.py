"""Brain extractors, one record in a file of its own.

A new one is a file with an `Extractor` and an entry in `EXTRACTORS`; configuration, `doctor` and
messages iterate over the registry. Importing it loads none of the networks.
"""

from __future__ import annotations

from preprocessing.extraction.deepbet import DEEPBET
from preprocessing.extraction.fsl import FSL
from preprocessing.extraction.hdbet import HDBET
from preprocessing.extraction.hdbet2 import HDBET2
from preprocessing.extraction.record import Extractor
from preprocessing.extraction.synthstrip import SYNTHSTRIP
from stfmri.study.config.checks import one_of

EXTRACTORS = {extractor.name: extractor for extractor in (DEEPBET, HDBET, HDBET2, SYNTHSTRIP, FSL)}


def extractor_named(name: str) -> Extractor:
    """The record of that name.

    Raises:
        ConfigError: where there is none.
    """
    one_of("preprocessing.skullstrip", name, EXTRACTORS)
    return EXTRACTORS[name]
