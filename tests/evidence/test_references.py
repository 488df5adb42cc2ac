from __future__ import annotations

from pathlib import Path

import pytest

from stfmri.evidence import references
from stfmri.evidence.references import REFERENCES, Reference, get, their_place
from stfmri.study.compose import compose
from stfmri.study.errors import ConfigError
from stfmri.study.networks import networks
from stfmri.study.ready_weights import initial_weights

CONF = Path(__file__).resolve().parents[2] / "conf"
PAPER = REFERENCES["chatterjee2022"]
EVERY = pytest.mark.parametrize("reference", REFERENCES.values(), ids=lambda one: one.name)


@EVERY
def test_the_printed_macro_f1_is_the_plain_mean_of_the_class_means(reference: Reference) -> None:
    for scores in reference.scores.values():
        means = [mean for mean, _ in scores.class_f1.values()]
        assert round(sum(means) / len(means), 4) == pytest.approx(scores.macro_f1, abs=1e-9)


@EVERY
def test_the_printed_weighted_f1_weighs_the_class_means_by_their_scans(
    reference: Reference,
) -> None:
    for scores in reference.scores.values():
        total = sum(
            reference.class_counts[name] * mean for name, (mean, _) in scores.class_f1.items()
        )
        weighted = total / sum(reference.class_counts.values())
        assert round(weighted, 4) == pytest.approx(scores.weighted_f1, abs=1e-9)


@EVERY
def test_every_key_of_a_reference_names_a_class_or_a_network_that_is_there(
    reference: Reference,
) -> None:
    assert set(reference.parameters) <= set(networks())
    for (model, weights), scores in reference.scores.items():
        assert model in networks()
        assert weights in initial_weights()
        assert reference.fits(list(scores.class_f1))
    for key in reference.table_of:
        _, _, part = key.partition("/")
        assert not part or part in {*reference.classes, *networks()}


def test_the_paper_counts_591_scans_and_six_networks() -> None:
    assert sum(PAPER.class_counts.values()) == 591
    assert len(PAPER.scores) == 6
    assert len(PAPER.literature) == 8


def test_the_papers_best_network_is_the_pre_trained_mixed_convolution() -> None:
    best = max(PAPER.scores, key=lambda variant: PAPER.scores[variant].macro_f1)
    assert best == ("mc3_18", "kinetics")
    assert "96.98 % and specificity 0.9684" in PAPER.remarks["accuracy"]


def test_a_reference_fits_its_own_classes_in_any_order_and_no_others() -> None:
    assert PAPER.fits(["Healthy", "HGG", "LGG"])
    assert not PAPER.fits(["HGG", "LGG"])
    assert not PAPER.fits(["young", "middle", "old"])


def test_a_variant_with_a_further_axis_is_not_the_papers() -> None:
    assert PAPER.printed("mc3_18", "kinetics") is not None
    assert PAPER.printed("mc3_18", "kinetics", "heavy") is None
    assert PAPER.printed("resnet50", "scratch") is None


def test_a_title_ends_in_the_place_that_the_paper_prints_the_same_at() -> None:
    assert their_place(PAPER, "class_f1", "HGG") == " (their Table 3)"
    assert their_place(PAPER, "confusion", "mc3_18") == " (their Figure 5)"
    assert their_place(PAPER, "comparisons") == ""
    assert their_place(None, "parameters") == ""


def test_no_name_is_no_reference_and_an_unknown_one_lists_the_known() -> None:
    assert get("") is None
    assert get("chatterjee2022") is PAPER
    with pytest.raises(ConfigError, match=r"chatterjee2022.*found 'chaterjee'"):
        get("chaterjee")


def test_conf_offers_every_reference_and_none(tmp_path: Path) -> None:
    offered = {path.stem for path in (CONF / "reference").glob("*.yaml")}
    assert offered == {*REFERENCES, "none"}
    for name in offered:
        chosen = references.get(compose([f"reference={name}"], root=tmp_path).reference.name)
        assert (chosen.name if chosen else "none") == name
