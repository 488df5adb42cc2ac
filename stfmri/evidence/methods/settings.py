"""What the variants of a sweep were configured with, as phrases of the methods text.

A phrase says some keys of the configuration in words. Said of every variant, it is printed once
where all agree, and as alternatives where they do not; a key that no phrase covers is printed as
`key = value` wherever it is not the default, so that a setting added later is never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stfmri.evidence.methods.wording import distinct
from stfmri.study.config import Config
from stfmri.study.overrides import flatten
from stfmri.study.words import enumerated

# Groups that decide what a network learns.
GROUPS = ("model.", "augment.", "train.")
# Those in which variants may differ; of `data`, the contrasts alone.
VARYING = ("data.", "preprocessing.", "split.train_fraction", *GROUPS)
# Places and machine settings, which change no result beyond rounding.
ASIDE = (
    "model.weights_file",
    "model.weights_name",
    "model.weights_hash",
    "train.precision",  # as the runs recorded it, not as it was asked for
    "train.resident_share",
    "train.workers",
    "train.threads",
    "train.eval_batch_size",
    "preprocessing.shard_volumes",
    "preprocessing.jobs",
)


@dataclass(frozen=True)
class Phrase:
    """Some keys in words.

    Attributes:
        keys: of the configuration, dotted; the values are handed to `say` in this order.
        say: the words for one variant's values; empty where there is nothing to say.
    """

    keys: tuple[str, ...]
    say: Callable[..., str]


@dataclass(frozen=True)
class Settings:
    """The flattened configurations of a sweep's variants."""

    values: tuple[Mapping[str, Any], ...]

    @staticmethod
    def of(configs: Sequence[Config]) -> Settings:
        """The settings of these configurations, one a variant."""
        return Settings(tuple(flatten(config) for config in configs))

    def alternatives(self, phrase: Phrase) -> list[str]:
        """The phrase for each variant, each wording once; nothing where a key is unknown."""
        return distinct(
            phrase.say(*(values[key] for key in phrase.keys))
            for values in self.values
            if all(key in values for key in phrase.keys)
        )

    def said(self, phrase: Phrase) -> str:
        """The phrase, alternatives joined by `or`."""
        return enumerated(self.alternatives(phrase), "or")

    def said_of_some(self, phrase: Phrase) -> str:
        """The phrase; where it says nothing of some variants, that it is of the others."""
        said = self.said(phrase)
        silent = any(
            not phrase.say(*(values[key] for key in phrase.keys)) for values in self.values
        )
        return f"in some variants {said}" if said and silent else said

    def varying(self) -> tuple[str, ...]:
        """The keys of `VARYING` in which the variants differ."""
        return tuple(key for key in self._keys(VARYING) if len(self._of(key)) > 1)

    def beyond(self, covered: Collection[str], groups: tuple[str, ...] = GROUPS) -> tuple[str, ...]:
        """`key = value` of what is not covered and some variant chose other than by default."""
        usual = flatten(Config())
        found = []
        for key in self._keys(groups):
            values = self._of(key)
            if key not in covered and values != [plain(usual.get(key))]:
                found.append(f"{key} = {enumerated(values, 'or')}")
        return tuple(found)

    def _keys(self, groups: tuple[str, ...] = GROUPS) -> list[str]:
        return distinct(
            key
            for values in self.values
            for key in values
            if key.startswith(groups) and key not in ASIDE
        )

    def _of(self, key: str) -> list[str]:
        return distinct(plain(values[key]) for values in self.values if key in values)


def plain(value: Any) -> str:
    """A value as YAML would have it, short."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value) or "''"
