"""Methods text, Table 1 and flow of a hand-made cohort."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from stfmri.evidence.cohort import Cohort, read_cohort
from stfmri.evidence.methods.characteristics import (
    mean_difference,
    share_difference,
    sort_columns,
)
from stfmri.evidence.methods.flow import drawing_of, flow_of, flow_table
from stfmri.evidence.methods.method_text import as_text, method_paragraphs
from stfmri.evidence.methods.preprocessing_text import DESCRIBED
from stfmri.evidence.methods.reasons import kinds_of, named
from stfmri.evidence.methods.settings import Settings
from stfmri.evidence.methods.study import CacheFacts, Study, Variant, read_caches, read_study
from stfmri.evidence.methods.table_one import split_table, table_one
from stfmri.evidence.tables import Table, cell_text, to_csv
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.training import AugmentConfig, ModelConfig, TrainConfig
from stfmri.study.rejected import Rejected, read_rejected, write_rejected
from stfmri.study.runs import Run, Sweep
from stfmri.study.shards import CacheError
from stfmri.study.splits import Fold, Subject
from tests.evidence.sweeps import make_sweep
from tests.tiny import CLASSES, tiny_cache, tiny_config

# subject, patient, source, class, age, sex, comment
ROWS = (
    ("a1", "a", "North", "ill", "30", "F", "c1"),
    ("a2", "a", "North", "ill", "34.5", "F", "c2"),
    ("b1", "b", "South", "ill", "50", "M", "c3"),
    ("c1", "c", "South", "well", "20", "M", "c4"),
    ("d1", "d", "South", "well", "n/a", "", "c5"),
    ("e1", "e", "South", "well", "40", "M", "c6"),
)
REJECTED = (
    Rejected("x1", "/data/x1.nii", "mask x1-mask.nii.gz lies up to 3.2 mm off the scan's grid"),
    Rejected("x2", "/data/x2.nii", "mask x2-mask.nii.gz lies up to 14.0 mm off the scan's grid"),
    Rejected("x3", "/data/x3.nii", "the file is empty"),
)
PROVENANCE: dict[str, Any] = {
    "versions": {"python": "3.11.9", "torch": "2.11.0", "torchio": "not installed"},
    "code": {"commit": "0123456789abcdef", "changed": False},
    "device": "NVIDIA A100",
    "precision": "fp16",
    "parameters": 33_148_995,
    "timings": {"train_s": 3000.0},
    "peak_memory_bytes": 4_200_000_000,
}
CHAIN = {"preprocessing.skullstrip": "deepbet", "extraction": "deepbet 1.0.2"}


def cohort_of(rows: tuple[tuple[str, ...], ...] = ROWS, *, folds: int = 2) -> Cohort:
    subjects = {
        name: Subject(
            name,
            patient,
            source,
            label,
            name,
            {"group": label, "path": f"{name}.nii", "age": age, "sex": sex, "comment": comment},
        )
        for name, patient, source, label, age, sex, comment in rows
    }
    every = (
        Fold(("a1", "a2", "c1"), (), ("b1", "d1", "e1")),
        Fold(("b1", "d1", "e1"), (), ("a1", "a2", "c1")),
    )
    return Cohort(("ill", "well"), subjects, every[:folds])


def config_of(**changes: Any) -> Config:
    base: dict[str, Any] = {
        "data": DataConfig(name="hand", label="group"),
        "preprocessing": PreprocessingConfig(spacing_mm=4.0),
    }
    return Config(**{**base, **changes})


def study_of(cohort: Cohort | None = None, *variants: Variant, **changes: Any) -> Study:
    config = config_of()
    base: dict[str, Any] = {
        "config": config,
        "cohort": cohort or cohort_of(),
        "cache": CacheFacts(7, REJECTED, CHAIN),
        "variants": variants or (Variant("ResNet3D", config, (PROVENANCE,)),),
    }
    return Study(**{**base, **changes})


def text_of(study: Study) -> str:
    return as_text(method_paragraphs(study))


def cells(table: Table) -> dict[str, list[str]]:
    """The table as read back from its CSV: first column → the others."""
    header, *rows = csv.reader(io.StringIO(to_csv(table)))
    return {"": header[1:]} | {row[0]: row[1:] for row in rows}


# --- methods text


def test_the_text_states_the_numbers_of_the_cohort() -> None:
    text = text_of(study_of())
    assert "6 scans of 5 patients from 2 sources (North, South)" in text
    assert "2 classes: ill (n = 3) and well (n = 3)" in text
    assert "Of 10 scans found, 3 gave no usable volume" in text
    assert "mask … lies up to … mm off the scan's grid (n = 2); the file is empty (n = 1)" in text
    assert "1 preprocessed scan was in no part of the split" in text
    assert "Each of the 2 folds has 3 scans for training and 3 for testing" in text


def test_the_epochs_of_the_text_are_those_trained_where_all_runs_agree() -> None:
    config = config_of()
    longer = replace(config, train=replace(config.train, epochs=5, steps=150))

    def said(*epochs: int) -> str:
        runs = tuple({**PROVENANCE, "epochs": number} for number in epochs)
        return text_of(study_of(None, Variant("ResNet3D", longer, runs)))

    assert "Adam for 38 epochs in batches" in said(38, 38)
    assert "Adam for 5 epochs or 150 steps, whichever was longer, in" in said(38, 40)


def test_the_text_states_what_was_configured_and_recorded() -> None:
    text = text_of(study_of())
    for words in (
        "the 0.5 and 99.5 percentiles",
        "4 mm isotropic voxels in a field of 240 × 240 × 156 mm",
        "60 × 60 × 39 voxels",
        "brain-extracted with deepbet (Fisch et al., Comput Biol Med 2024; deepbet 1.0.2) unless "
        "they came brain-extracted",
        "centred on the brain, after a low-pass filter where this was coarser",
        "took one-channel volumes as axial slices",
        "r3d_18 (a residual network of 3 × 3 × 3 convolutions; Tran et al., CVPR 2018, "
        "doi:10.1109/CVPR.2018.00675; 33,148,995 trainable parameters)",
        "Adam for 50 epochs in batches of 1 volume, with a learning rate of 1e-05 (kept constant) "
        "and a weight decay of 0.001",
        "precision: fp16",
        "commit 0123456789ab)",
        "Python 3.11.9 and PyTorch 2.11.0",
        "NVIDIA A100; training took a median of 50 min a run; peak memory was 4.2 GB",
    ):
        assert words in text
    assert "torchio" not in text
    assert 200 <= len(text.split()) <= 380


def test_sentences_of_others_stand_in_paragraphs_of_their_own() -> None:
    paragraphs = method_paragraphs(study_of(), ("Drawn so.",), ("Beside these.",), ("Tested so.",))
    by_heading = {paragraph.heading: paragraph.text for paragraph in paragraphs}
    assert by_heading["Splits"].startswith("Drawn so. Each of the 2 folds")
    assert (by_heading["Baselines"], by_heading["Statistics"]) == ("Beside these.", "Tested so.")
    assert "Statistics" not in [paragraph.heading for paragraph in method_paragraphs(study_of())]


def test_settings_that_differ_between_variants_are_said_as_alternatives() -> None:
    slow = Variant("A", config_of(), (PROVENANCE,))
    other = config_of(
        model=ModelConfig(name="mc3_18", weights="kinetics"),
        train=TrainConfig(learning_rate=1e-3, schedule="cosine", batch_norm="recomputed"),
        augment=AugmentConfig(kind="none"),
    )
    text = text_of(study_of(None, slow, Variant("B", other, ({"parameters": 11_472_963},))))
    assert "2 variants of 2 networks were trained" in text
    assert "mc3_18 (a residual network of 3D convolutions, and of 2D ones in its later" in text
    assert "11,472,963 trainable parameters)" in text
    assert "learning rate of 1e-05 or 0.001 (kept constant or falling to zero" in text
    assert "random weights or weights pre-trained on the videos of Kinetics-400" in text
    assert "or no augmentation; test volumes were never augmented" in text
    assert "In some variants batch-norm statistics were recomputed" in text
    assert "Variants differ in model.name, model.weights" in text
    assert "train.learning_rate" in text


def test_a_setting_without_a_phrase_is_still_stated() -> None:
    settings = Settings(({"train.temperature": 2.0, "train.epochs": 9}, {"train.temperature": 3.0}))
    assert settings.beyond({"train.epochs"}) == ("train.temperature = 2 or 3",)
    assert settings.varying() == ("train.temperature",)


def test_what_was_not_recorded_is_called_so_and_never_guessed() -> None:
    bare = study_of(
        None,
        Variant("A", config_of()),
        cache=CacheFacts(6, None, {}),
    )
    text = text_of(bare)
    assert "parameters not recorded" in text
    assert "precision: not recorded" in text
    assert "Software and hardware: not recorded" in text
    assert "How many scans gave no usable volume was not recorded" in text
    assert "version not recorded" in text
    assert "excluded" not in text


def test_every_setting_that_decides_a_voxel_is_described() -> None:
    assert set(Config().chain) - {"version"} == DESCRIBED


def test_contrasts_and_what_was_asked_of_them_are_said() -> None:
    config = config_of(
        data=DataConfig(name="hand", label="group", contrasts=("t1ce", "flair"), missing="zeros"),
        preprocessing=PreprocessingConfig(
            spacing_mm=4.0, skullstrip="hdbet", bias="n4", register="mni", antialias=False
        ),
    )
    study = study_of(None, Variant("A", config), config=config, lacking={"flair": 2})
    text = text_of(study)
    for words in (
        "T1ce and FLAIR of a subject became the channels of one volume",
        "rigidly registered to a subject's first by mutual information, unless they came",
        "HD-BET (Isensee et al., Hum Brain Mapp 2019; deepbet 1.0.2)",  # as the cache says
        "The shading of each scan was corrected by N4 (Tustison et al., IEEE Trans Med Imaging "
        "2010)",
        "MNI152 template (Fonov et al., NeuroImage 2011) by an affine registration",
        "Intensities of each contrast were scaled",
        "voxels) at one place in that space, without a low-pass filter",
        "Contrasts that a subject lacked are channels of zeros: FLAIR (n = 2)",
        "took two-channel volumes as axial slices",
    ):
        assert words in text
    assert "Further preprocessing settings" not in text
    assert "No subject lacked a contrast" in text_of(replace(study, lacking={}))
    assert "how many was not recorded" in text_of(replace(study, lacking=None))


def test_contrasts_and_grids_that_variants_differ_in_are_said_as_alternatives() -> None:
    variants = [
        Variant(
            "+".join(names),
            config_of(
                data=DataConfig(name="hand", label="group", contrasts=names),
                preprocessing=PreprocessingConfig(spacing_mm=mm, bias=bias),
            ),
        )
        for names, mm, bias in (
            (("t1ce",), 4.0, "none"),
            (("flair",), 2.0, "n4"),
            (("t1ce", "flair"), 2.0, "n4"),
        )
    ]
    text = text_of(study_of(None, *variants))
    for words in (
        "Variants differed in the contrasts that they were given: T1ce; FLAIR; T1ce and FLAIR.",
        "In some variants the shading of each scan was corrected by N4",
        "60 × 60 × 39 voxels) or 2 mm isotropic voxels",
        "Variants used 3 such preprocessings of the same scans",
        "Variants differ in data.contrasts, preprocessing.spacing_mm and preprocessing.bias",
    ):
        assert words in text


def test_scans_without_a_contrast_are_counted_from_the_index(tmp_path: Path) -> None:
    data = DataConfig(name="tiny", classes=CLASSES, contrasts=("t1ce", "flair"), missing="zeros")
    config = tiny_config(tmp_path, data=data)
    lacking = [("LGG-00", "flair"), ("HGG-01", "flair"), ("HGG-02", "t1ce")]
    tiny_cache(config, lacking=lacking)
    split = splits.ensure(config)
    run = Run("r3d_18-scratch", "r3d_18", "scratch", 0, tmp_path / "runs/v/fold0")
    sweep = Sweep(config, [run])
    cohort = Cohort(CLASSES, split.subjects, split.folds)
    study = read_study(sweep, cohort, {"r3d_18-scratch": "ResNet3D"}, {})
    assert study.lacking == {"flair": 2, "t1ce": 1}
    assert "channels of zeros: FLAIR (n = 2) and T1ce (n = 1)" in text_of(study)


def test_brains_are_told_apart_by_where_their_mask_came_from() -> None:
    cohort = cohort_of()
    subjects = dict(cohort.subjects)
    for name, column, value in (("a1", "mask", "m.nii"), ("a2", "stripped", "yes")):
        subject = subjects[name]
        subjects[name] = replace(subject, columns={**subject.columns, column: value})
    text = text_of(study_of(replace(cohort, subjects=subjects)))
    assert "1 scan came with a brain mask, which was used as it was." in text
    assert "1 scan came brain-extracted." in text
    assert "Scans that came neither with a mask nor brain-extracted were brain-extracted" in text


def test_a_sweep_on_disk_becomes_a_study(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    cohort = read_cohort(sweep.cache, sweep.splits, tuple(sweep.classes))
    write_rejected(sweep.cache, REJECTED)
    labels = {"r3d_18-scratch": "ResNet3D", "r3d_18-kinetics": "ResNet3D, pre-trained"}
    study = read_study(sweep, cohort, labels, {"r3d_18-scratch": [PROVENANCE]})
    assert [variant.label for variant in study.variants] == list(labels.values())
    assert study.variants[0].provenances == (PROVENANCE,)
    assert (study.cache.volumes, study.cache.rejected) == (40, REJECTED)
    assert "40 scans of 40 patients" in text_of(study)


def test_two_caches_count_together_and_an_unknown_one_leaves_it_unknown(tmp_path: Path) -> None:
    first, second = (make_sweep(tmp_path / name).cache for name in ("a", "b"))
    write_rejected(first, REJECTED[:1])
    assert read_caches([first, second]).rejected is None
    write_rejected(second, REJECTED[1:])
    facts = read_caches([first, second])
    assert (facts.volumes, facts.rejected) == (80, REJECTED)


# --- rejected.csv


def test_rejected_scans_are_read_as_written(tmp_path: Path) -> None:
    assert read_rejected(tmp_path) is None
    write_rejected(tmp_path, [])
    assert read_rejected(tmp_path) == ()
    odd = Rejected("s,1", '/a "b"', "cannot; see\tthere")
    write_rejected(tmp_path, [odd])
    assert read_rejected(tmp_path) == (odd,)


@pytest.mark.parametrize("text", ["", "subject_id,why\n", "subject_id,path,reason\nonly,two\n"])
def test_a_damaged_rejected_csv_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "rejected.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CacheError, match=r"rejected\.csv"):
        read_rejected(tmp_path)


def test_reasons_that_differ_in_numbers_and_files_are_one_kind() -> None:
    spans = [
        Rejected(f"s{n}", "x", f"the brain spans 15{n}×190×160 mm, more than the field; enlarge it")
        for n in range(3)
    ]
    one = Rejected("t", "x", "truncated: fewer bytes than its header announces")
    kinds = kinds_of([one, *spans])
    assert [(kind.reason, kind.count) for kind in kinds] == [
        ("the brain spans … mm, more than the field", 3),
        ("truncated: fewer bytes than its header announces", 1),
    ]
    # A single scan's reason keeps its numbers.
    assert kinds_of(spans[:1])[0].reason == "the brain spans 150×190×160 mm, more than the field"


def test_of_many_kinds_the_rarest_are_counted_together() -> None:
    kinds = kinds_of([Rejected("s", "x", "abcdefgh"[: n + 1]) for n in range(8)])
    assert named(kinds)[-1] == "other reasons (n = 2)"
    assert len(named(kinds)) == 7


# --- Table 1


def test_table_one_equals_numbers_worked_by_hand() -> None:
    found = cells(table_one(cohort_of(), "group"))
    assert found[""] == ["All", "ill", "well", "Largest SMD"]
    assert found["Scans, n"] == ["6", "3", "3", ""]
    assert found["Patients, n"] == ["5", "2", "3", ""]
    assert found["Sources, n"] == ["2", "2", "1", ""]
    # ill 30, 34.5, 50; well 20, 40; all mean 34.9; variances 109.75 and 200: SMD 8.167 / 12.445.
    assert found["age, mean ± SD"] == ["34.9 ± 11.2", "38.2 ± 10.5", "30.0 ± 14.1", "0.66"]
    assert found["age, median [IQR]"][:2] == ["34.5 [30.0 to 40.0]", "34.5 [32.2 to 42.2]"]
    assert found["age, missing, n"] == ["1", "0", "1", ""]
    assert found["sex: F, n (%)"][:3] == ["2 (40.0)", "2 (66.7)", "0 (0.0)"]
    assert found["sex: M, n (%)"][:3] == ["3 (60.0)", "1 (33.3)", "2 (100.0)"]
    assert found["source: North, n (%)"][:3] == ["2 (33.3)", "2 (66.7)", "0 (0.0)"]
    assert not [name for name in found if name.startswith(("group", "path"))]


def test_columns_left_out_are_named_with_the_reason() -> None:
    rows = tuple((f"s{n}", f"p{n}", "S", "ill", "3", "M", f"note {n}") for n in range(13))
    subjects = cohort_of(rows, folds=0).subjects
    ids = tuple(subjects)
    cohort = Cohort(("ill",), subjects, (Fold(ids[:9], (), ids[9:]),))
    caption = table_one(cohort, "group").caption
    assert "path (identifies a scan or a file) and comment (13 text values)" in caption


def test_a_single_fold_has_its_parts_as_columns() -> None:
    found = cells(table_one(cohort_of(folds=1), "group"))
    assert found[""] == ["All", "ill", "well", "Train", "Test", "Largest SMD"]
    assert found["Scans, n"][3:5] == ["3", "3"]
    assert found["age, missing, n"][3:5] == ["0", "1"]


def test_scans_tested_in_some_fold_have_a_column_where_they_are_not_all() -> None:
    cohort = cohort_of()
    folds = (Fold(("a1", "a2", "c1"), (), ("b1",)), Fold(("a1", "c1"), (), ("d1",)))
    assert "Tested in any fold" in cells(table_one(replace(cohort, folds=folds), "group"))[""]
    assert "Tested in any fold" not in cells(table_one(cohort, "group"))[""]


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("age", ["1.5", "2", "", "3"], "measured"),
        ("score", [str(n) for n in range(7)], "measured"),
        ("grade", ["1", "2", "3", "1"], "counted"),
        ("flag", ["true", "false", "n/a", "true"], "counted"),
        ("remark", [f"r{n}" for n in range(13)], "left out"),
        ("size", ["1", "2", "inf", "2.5"], "counted"),
        ("scanPath", ["a", "a"], "left out"),
        ("Study ID", ["1.5", "2.5"], "left out"),
        ("sha256", ["ab", "cd"], "left out"),
        ("nothing", ["", "NA"], "left out"),
        ("maskulinity", ["a", "b"], "counted"),
    ],
)
def test_a_column_is_measured_counted_or_left_out(name: str, values: list[str], kind: str) -> None:
    found = sort_columns([(name, values)])
    kinds = ["measured" if one.is_numeric else "counted" for one in found.characteristics]
    assert (kinds or ["left out"]) == [kind]


def test_codes_are_listed_by_size_and_not_by_the_alphabet() -> None:
    (found,) = sort_columns([("grade", ["10", "9", "unknown", "2"])]).characteristics
    assert found.values == ("2", "9", "10", "unknown")


def test_the_mean_difference_is_the_textbooks() -> None:
    generator = np.random.default_rng(0)
    one, two, three = (generator.normal(mean, 2, 50) for mean in (0, 1, 3))
    expected = abs(one.mean() - three.mean()) / math.sqrt((one.var(ddof=1) + three.var(ddof=1)) / 2)
    assert mean_difference([one, two, three]) == pytest.approx(expected)
    assert mean_difference([np.ones(3), np.ones(3)]) == 0
    assert mean_difference([np.ones(3), np.zeros(3)]) == math.inf
    assert math.isnan(mean_difference([one, two[:1]]))


def test_the_difference_of_two_shares_is_the_one_for_proportions() -> None:
    one, other = ["F"] * 30 + ["M"] * 70, ["F"] * 60 + ["M"] * 40
    expected = 0.3 / math.sqrt((0.3 * 0.7 + 0.6 * 0.4) / 2)
    assert share_difference([one, other], ["F", "M"]) == pytest.approx(expected)
    # Which value is left out does not matter, nor does a value that nobody has.
    assert share_difference([one, other], ["M", "none", "F"]) == pytest.approx(expected)
    assert share_difference([["F"], ["M"]], ["F", "M"]) == math.inf
    assert share_difference([one, list(one)], ["F", "M"]) == 0


def test_the_split_table_adds_up() -> None:
    rows = [[cell_text(cell) for cell in row.cells] for row in split_table(cohort_of()).rows]
    assert rows[0] == ["0", "train", "3", "2", "2", "1"]
    assert rows[1] == ["0", "test", "3", "3", "1", "2"]
    assert all(int(row[2]) == int(row[4]) + int(row[5]) for row in rows)
    caption = split_table(cohort_of()).caption
    assert "Of 5 patients 5 are tested, each of them once" in caption
    assert caption.endswith("none never.")


# --- flow


def test_the_numbers_of_the_flow_add_up() -> None:
    flow = flow_of(study_of())
    assert (flow.found, flow.excluded, flow.cached, flow.unused, flow.used) == (10, 3, 7, 1, 6)
    assert flow.found == flow.excluded + flow.unused + flow.used
    assert [(part.train, part.test) for part in flow.parts] == [(3, 3), (3, 3)]
    rows = [row.cells for row in flow_table(flow).rows]
    excluded = [cell[1] for cell in rows if str(cell[0]).startswith("Excluded")]
    assert excluded == [2, 1, 1]
    assert rows[0][1] == sum(map(int, map(str, excluded))) + flow.used


def test_an_unknown_number_of_rejected_scans_stays_unknown() -> None:
    flow = flow_of(study_of(cache=CacheFacts(6, None, {})))
    assert flow.found is None
    assert [cell_text(cell) for cell in flow_table(flow).rows[0].cells] == [
        "Scans found",
        "–",
        "not recorded",
    ]
    assert "not recorded" in drawing_of(flow).description


@pytest.mark.parametrize("folds", [1, 2, 40])
def test_boxes_of_the_diagram_lie_in_the_drawing_and_apart(folds: int) -> None:
    cohort = cohort_of()
    cohort = replace(cohort, folds=(cohort.folds * 20)[:folds])
    drawing = drawing_of(flow_of(study_of(cohort)))
    for box in drawing.boxes:
        assert box.x >= 0
        assert box.x + box.width <= drawing.width
        assert box.y + box.height <= drawing.height
        assert all(box.y < y < box.y + box.height for y, _ in box.baselines)
    main = [box for box in drawing.boxes if not box.side]
    aside = [box for box in drawing.boxes if box.side]
    for column in (main, aside):
        for upper, lower in pairwise(column):
            assert upper.y + upper.height < lower.y
    assert max(box.x + box.width for box in main) < min(box.x for box in aside)


def test_partials_escape_what_strangers_wrote() -> None:
    nasty = '<script>alert("x")</script>'
    rejected = (Rejected("x", "x", nasty),)
    subjects = {
        name: replace(subject, source=nasty) for name, subject in cohort_of().subjects.items()
    }
    study = study_of(
        replace(cohort_of(), subjects=subjects),
        cache=CacheFacts(6, rejected, CHAIN),
    )
    page = rendered("_methods.html.j2", paragraphs=method_paragraphs(study)) + rendered(
        "_flow.html.j2", flow=drawing_of(flow_of(study))
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def rendered(template: str, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("stfmri.evidence"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)
