"""Weights that were pre-trained on MRI: where they lie, what they saw, and whom they may not meet.

`python -m stfmri.pretrain --name NAME` writes, under `<root>/data/pretrained/NAME/`:

    weights.pt     the network's state dict, under the network's own keys, without its head
    card.json      what the weights are and which subjects they saw; read by each run that uses them
    card.md        the same for a reader, without ids: this one may be passed on
    fold<k>/       the same three files, pre-trained on the training subjects of fold k alone

A network that has seen a scan, even under another label or under none, may know it again. So no
subject that was pre-trained on is ever tested: `check` refuses that, whoever asks.

What else differs between pre-training and training is treated by what it can spoil. Another network
or another number of channels cannot be loaded and is refused. Another grid is fine: convolutions
know none. Another chain (contrast, skull stripping, bias correction) makes a worse start and no
wrong score, as films of people do for Kinetics, so it is said and not refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stfmri.study import cards, duplicates
from stfmri.study.cards import CARD_FILE, WEIGHTS_FILE, Card
from stfmri.study.config import Config
from stfmri.study.config.training import PRETRAINED
from stfmri.study.duplicates import Pair
from stfmri.study.errors import LeakageError, UserError
from stfmri.study.files import safe_name, sha256_of
from stfmri.study.shards import IndexRow
from stfmri.study.splits import Split, rows_of
from stfmri.study.words import did_you_mean, listed, plural

# Settings that a convolution's weights do not depend on.
GRID = ("preprocessing.spacing_mm", "preprocessing.field_mm")
MOST_NAMED = 3  # subjects in a refusal


@dataclass(frozen=True)
class Pretrained:
    """Finished weights and their card."""

    card: Card
    folder: Path

    @property
    def weights(self) -> Path:
        """The state dict."""
        return self.folder / WEIGHTS_FILE


def folder_of(root: Path, name: str, fold: int | None = None) -> Path:
    """Where weights of this name lie, or will: of the cohort, or of a fold's training subjects."""
    folder = root / "data" / "pretrained" / safe_name(name, "the name of pre-trained weights")
    return folder if fold is None else folder / f"fold{fold}"


def name_of(weights: str) -> str | None:
    """NAME of `pretrained:NAME`; None for weights from elsewhere."""
    return weights.removeprefix(PRETRAINED) if weights.startswith(PRETRAINED) else None


def find(config: Config) -> Pretrained | None:
    """The weights that `model.weights` names, the fold's own where there are some.

    Returns:
        None where `model.weights` names no pre-trained ones.

    Raises:
        UserError: where there are none of that name, or a file is damaged or was exchanged.
    """
    name = name_of(config.model.weights)
    if name is None:
        return None
    root, fold = Path(config.root), config.split.fold
    folders = (folder_of(root, name, fold), folder_of(root, name))
    folder = next((one for one in folders if (one / CARD_FILE).is_file()), None)
    if folder is None:
        raise UserError(_none_there(folders[1], fold))
    found = Pretrained(cards.read(folder / CARD_FILE), folder)
    _require_weights(found, config.model.weights_hash)
    return found


def check(config: Config, split: Split) -> Pretrained | None:
    """Refuse weights that do not fit the run, or saw a subject that its fold tests.

    Args:
        config: of one run, with its fold.
        split: as `splits.check` gives it for `config`.

    Returns:
        The weights; None where `model.weights` names no pre-trained ones.

    Raises:
        UserError: where there are none, or they are another network's.
        LeakageError: naming the tested subjects that were pre-trained on.
    """
    found = find(config)
    if found is None:
        return None
    _require_network(found, config)
    tested = set(split.folds[config.split.fold].test)
    rows = rows_of(config)
    pairs = (*duplicates.read(config.cache), *split.file.near_duplicates, *split.file.joined)
    apart = config.split.near_duplicates == "apart"
    shared = list(_overlap(found.card, rows, tested, config, () if apart else pairs))
    if shared:
        raise LeakageError(
            f"{found.folder} was pre-trained on {plural(len(shared), 'subject')} that fold "
            f"{config.split.fold} tests: {listed(shared, MOST_NAMED)}. Pre-train within each fold, "
            "on its training subjects alone (python -m stfmri.pretrain … --all-folds), or on "
            "another cohort"
        )
    return found


def notes(config: Config) -> list[str]:
    """What should be known of the weights, a sentence each.

    Whether they learned their task, and how their volumes differ from the run's, the grid apart.

    Raises:
        UserError: where there are no such weights.
    """
    found = find(config)
    if found is None:
        return []
    card = found.card
    ours = {**config.chain, "model.slice_axis": config.model.slice_axis}
    theirs = {**card.chain, "model.slice_axis": card.slice_axis}
    # A cohort of one contrast may have no name for it: the channels' names say more.
    ours["data.contrasts"], theirs["data.contrasts"] = config.data.channels, card.channels
    differing = [
        f"{key} was {_plain(theirs.get(key))}, is {_plain(value)}"
        for key, value in ours.items()
        if key not in GRID and theirs.get(key) != value
    ]
    said = []
    if card.has_hardly_learned:
        said.append(
            f"{config.model.weights} hardly learned its task: its loss ended at "
            f"{card.final['train_loss']:.3g}, where that of guessing is "
            f"{card.final['guessing_loss']:.3g}"
        )
    if differing:
        said.append(
            f"{config.model.weights} was pre-trained on other volumes than these: "
            f"{listed(differing)}; its weights are a worse start than they could be"
        )
    return said


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _none_there(folder: Path, fold: int) -> str:
    folds = sorted(path.parent.name for path in folder.glob(f"fold*/{CARD_FILE}"))
    if folds:
        return (
            f"{folder} has weights of {', '.join(folds)} and none of fold {fold}; run "
            "python -m stfmri.pretrain with --all-folds again, which makes what is missing"
        )
    others = sorted({path.parent.name for path in folder.parent.glob(f"*/{CARD_FILE}")})
    others += sorted(path.parents[1].name for path in folder.parent.glob(f"*/fold0/{CARD_FILE}"))
    known = f"there are: {', '.join(dict.fromkeys(others))}" if others else "there are none yet"
    meant = did_you_mean(folder.name, others)
    make = f". Make them first: python -m stfmri.pretrain … --name {folder.name}"
    return f"no finished pre-trained weights at {folder}; {known}{meant or make}"


def _require_weights(found: Pretrained, submitted: str) -> None:
    """Refuse a file that is not the card's, or not the one that the run was submitted with.

    Args:
        submitted: `model.weights_hash`; whole where a submission has filled it in.
    """
    if not found.weights.is_file():
        raise UserError(f"{found.folder} has a card and no {WEIGHTS_FILE}; put it back")
    digest = sha256_of(found.weights)
    if digest != found.card.weights_sha256:
        raise UserError(
            f"{found.weights} is not the file that its {CARD_FILE} describes: its sha256 is "
            f"{digest[:8]}…, expected {found.card.weights_sha256[:8]}…; put the former file back, "
            "or pre-train again under another --name"
        )
    if len(submitted) == len(digest) and digest != submitted:
        raise UserError(
            f"{found.weights} has been made again since the run was submitted: its sha256 was "
            f"{submitted[:8]}…, now {digest[:8]}…; submit another sweep with --name"
        )


def _require_network(found: Pretrained, config: Config) -> None:
    card, model, channels = found.card, config.model, config.data.channels
    if (card.network, card.stem) != (model.name, model.stem):
        raise UserError(
            f"{found.folder} holds weights of {card.network} (stem {card.stem}); the run trains "
            f"{model.name} (stem {model.stem}): pre-train that network under another --name"
        )
    if len(card.channels) != len(channels) or (
        set(card.channels) == set(channels) and card.channels != channels
    ):
        raise UserError(
            f"{found.folder} was pre-trained on the channels {', '.join(card.channels)}; the run "
            f"has {', '.join(channels)}: pre-train on these, in this order"
        )


def _overlap(
    card: Card, rows: Sequence[IndexRow], tested: set[str], config: Config, pairs: Sequence[Pair]
) -> Iterator[str]:
    """The tested subjects that were pre-trained on, each with how that is known."""
    seen = {row.subject_id: how for row in rows if (how := _seen(card, row, config))}
    alike = [(pair.subject_a, pair.subject_b) for pair in pairs]
    for one, other in (*alike, *((other, one) for one, other in alike)):
        if one in seen and other in tested and other not in seen:
            yield f"{other} (almost the same scan as {one})"
    yield from (f"{name} ({how})" for name, how in seen.items() if name in tested)


def _seen(card: Card, row: IndexRow, config: Config) -> str:
    """How a volume is known from pre-training; empty where it is not."""
    cohort = config.data.name if row.folder == config.cache else config.data.external
    if row.sha256 in card.volumes:
        return "the same volume"
    if cohort == card.cohort and row.patient_id in card.patients:
        return "the same patient"
    return ""
