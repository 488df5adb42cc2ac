"""Pre-training on MRI in words, from the cards that runs recorded, and how it was fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stfmri.evidence.methods.settings import Phrase
from stfmri.evidence.methods.study import Study
from stfmri.evidence.methods.wording import capital, distinct, spanned
from stfmri.study.words import enumerated, plural

FREEZE = Phrase(
    ("train.freeze",),
    lambda stages: (
        f"the first {plural(stages, 'stage')} of pre-trained networks kept their weights"
        if stages
        else ""
    ),
)
LAYER_DECAY = Phrase(
    ("train.layer_decay",),
    lambda decay: (
        f"the learning rate of pre-trained networks fell by a factor of {decay:g} from each stage "
        "to the one before it"
        if decay != 1
        else ""
    ),
)


def pretraining(study: Study) -> tuple[str, ...]:
    """One sentence for each set of weights that was pre-trained on MRI, and fine-tuning."""
    cards: dict[str, list[Mapping[str, Any]]] = {}
    for record in study.provenances:
        if card := record.get("pretraining"):
            cards.setdefault(str(card["name"]), []).append(card)
    if not cards:
        return ()
    tuning = [
        f"{capital(said)}." for p in (FREEZE, LAYER_DECAY) if (said := study.settings.said(p))
    ]
    return (*(_sentence(name, found) for name, found in cards.items()), *tuning)


def _sentence(name: str, cards: list[Mapping[str, Any]]) -> str:
    """What the weights of one name were made of; of each fold where they are its own."""
    first = cards[0]
    networks = enumerated(distinct(str(card["network"]) for card in cards))
    volumes = spanned([int(card["subjects"]) for card in cards])
    part = "" if first["fold"] is None else ", within each fold on its training subjects alone"
    return (
        f"The weights {name} ({networks}) were {first['method']}, on {volumes} volumes of the "
        f"cohort {first['cohort']}{part}, for {plural(int(first['epochs']), 'epoch')} from seed "
        f"{first['seed']}; no subject that they were trained on was tested."
    )
