"""BraTS of every year, UPENN-GBM, IXI, and the cohorts made of two of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preprocessing.cohorts import find_scans
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from tests.preprocessing.layouts import brats2019, brats2020, case, ixi, touch, write


def found(kind: str, folder: Path, **settings: object) -> dict[str, Scan]:
    data = DataConfig(kind=kind, folder=str(folder), **settings)  # type: ignore[arg-type]
    return {scan.subject_id: scan for scan in find_scans(data)}


def names(scan: Scan) -> dict[str, str]:
    return {contrast: path.name for contrast, path in scan.paths.items()}


def test_the_case_of_2017_to_2019_gives_grade_patient_and_centre(tmp_path: Path) -> None:
    folder = brats2019(
        tmp_path,
        HGG=["BraTS19_CBICA_AAB_1"],
        LGG=["BraTS19_TCIA09_620_1", "Brats17_2013_0_1", "odd"],
    )
    scans = found("brats2019", folder, label="grade", contrasts=("flair", "t1ce"))
    facts = {name: (s.label, s.patient_id, s.source) for name, s in scans.items()}
    assert facts == {
        "Brats17_2013_0_1": ("LGG", "Brats17_2013_0", "BraTS-2013"),
        "BraTS19_TCIA09_620_1": ("LGG", "BraTS19_TCIA09_620", "BraTS-TCIA09"),
        "odd": ("LGG", "odd", "BraTS-unknown"),
        "BraTS19_CBICA_AAB_1": ("HGG", "BraTS19_CBICA_AAB", "BraTS-CBICA"),
    }
    tumour = scans["BraTS19_CBICA_AAB_1"]
    assert tumour.stripped
    assert tumour.columns["grade"] == "HGG"
    assert list(names(tumour).items()) == [
        ("flair", "BraTS19_CBICA_AAB_1_flair.nii.gz"),
        ("t1ce", "BraTS19_CBICA_AAB_1_t1ce.nii.gz"),
    ]
    [scan, *_] = found("brats2019", folder).values()
    assert scan.path.name.endswith("_t1ce.nii.gz")
    assert list(scan.paths) == ["scan"]


def test_uncompressed_files_count_and_a_case_without_its_scan_is_not_forgotten(
    tmp_path: Path,
) -> None:
    folder = brats2019(tmp_path, LGG=["BraTS19_2013_0_1"])
    plain = case(folder / "LGG", "BraTS19_2013_1_1", ())
    touch(plain / "BraTS19_2013_1_1_t1ce.nii")
    case(folder / "LGG", "BraTS19_2013_2_1", ("t1", "flair"))
    pipe = case(folder / "LGG", "BraTS19_2013_3_1", ())
    os.mkfifo(pipe / "BraTS19_2013_3_1_t1ce.nii.gz")
    both = case(folder / "LGG", "BraTS19_2013_4_1")
    touch(both / "BraTS19_2013_4_1_t1ce.nii", both / "._BraTS19_2013_4_1_t1ce.nii.gz")
    scans = found("brats2019", folder, classes=("LGG",))
    assert [bool(scan.fault) for scan in scans.values()] == [False, False, True, True, False]
    assert "no t1ce in" in scans["BraTS19_2013_2_1"].fault
    assert scans["BraTS19_2013_4_1"].path.suffix == ".gz"
    two = found("brats2019", folder, classes=("LGG",), contrasts=("t1ce", "flair"))
    assert list(two["BraTS19_2013_2_1"].paths) == ["flair"]
    assert not two["BraTS19_2013_2_1"].fault


def test_two_files_for_one_contrast_are_both_named(tmp_path: Path) -> None:
    folder = brats2019(tmp_path, HGG=["BraTS19_X_1_1", "BraTS19_X_2_1"])
    touch(folder / "HGG/BraTS19_X_1_1/BraTS19_X_1_1_t1gd.nii.gz")
    first, second = found("brats2019", folder, classes=("HGG",)).values()
    assert first.fault == (
        "2 files for t1ce, BraTS19_X_1_1_t1ce.nii.gz and BraTS19_X_1_1_t1gd.nii.gz: "
        "keep one of them"
    )
    assert not second.fault


def test_the_mapping_of_2020_gives_grade_and_the_earlier_name_the_centre(tmp_path: Path) -> None:
    folder = brats2020(
        tmp_path, _001=("HGG", "BraTS19_CBICA_AAB_1"), _002=("LGG", "NA"), _003=("HGG", "NA")
    )
    text = (folder / "name_mapping.csv").read_text()
    write(folder / "name_mapping.csv", text.replace("HGG,NA,NA", "HGG,NA,Brats18_TCIA08_167_1"))
    scans = found("brats2020", folder)
    facts = {name[-3:]: (s.label, s.patient_id, s.source) for name, s in scans.items()}
    assert facts == {
        "002": ("LGG", "BraTS20_Training_002", "BraTS-unknown"),
        "001": ("HGG", "BraTS19_CBICA_AAB", "BraTS-CBICA"),
        "003": ("HGG", "Brats18_TCIA08_167", "BraTS-TCIA08"),
    }
    assert all(scan.stripped and not scan.fault for scan in scans.values())


def test_a_case_without_a_grade_is_a_fault_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = brats2020(
        tmp_path, _001=("HGG", "BraTS19_CBICA_AAB_1"), _002=("", "NA"), _004=("LGG", "NA")
    )
    case(folder, "BraTS20_Training_003")
    faults = {name[-3:]: scan.fault for name, scan in found("brats2020", folder).items()}
    assert faults == {
        "001": "",
        "002": "name_mapping.csv gives no grade (empty)",
        "003": "not listed in name_mapping.csv",
        "004": "",
    }


def test_a_folder_of_2020_without_its_mapping_says_so(tmp_path: Path) -> None:
    case(tmp_path / "b", "BraTS20_Training_001")
    with pytest.raises(UserError, match=r"there is no file .*name_mapping.csv"):
        found("brats2020", tmp_path / "b")
    write(tmp_path / "b" / "name_mapping.csv", "BraTS_2020_subject_ID\nBraTS20_Training_001\n")
    with pytest.raises(UserError, match=r"lacks the column Grade"):
        found("brats2020", tmp_path / "b")


def test_2021_and_2023_name_the_same_contrasts(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    case(folder, "BraTS2021_00000")
    for visit in ("000", "001"):
        case(folder, f"BraTS-GLI-00005-{visit}", ("t1n", "t1c", "t2w", "t2f"), mark="-")
    text = "id\tlabel\nBraTS2021_00000\tx\nBraTS-GLI-00005\ty\n"
    table = write(tmp_path / "labels.tsv", text)
    scans = found("brats2021", folder, table=table, contrasts=("t1", "t1ce", "t2", "flair"))
    facts = {name: (s.label, s.patient_id, s.source) for name, s in scans.items()}
    assert facts == {
        "BraTS2021_00000": ("x", "BraTS2021_00000", "BraTS2021"),
        "BraTS-GLI-00005-000": ("y", "BraTS-GLI-00005", "BraTS-GLI"),
        "BraTS-GLI-00005-001": ("y", "BraTS-GLI-00005", "BraTS-GLI"),
    }
    assert names(scans["BraTS-GLI-00005-001"]) == {
        "t1": "BraTS-GLI-00005-001-t1n.nii.gz",
        "t1ce": "BraTS-GLI-00005-001-t1c.nii.gz",
        "t2": "BraTS-GLI-00005-001-t2w.nii.gz",
        "flair": "BraTS-GLI-00005-001-t2f.nii.gz",
    }
    assert list(names(scans["BraTS2021_00000"])) == ["t1", "t1ce", "t2", "flair"]


def test_contrasts_may_be_asked_for_by_their_other_names(tmp_path: Path) -> None:
    folder = brats2019(tmp_path, HGG=["BraTS19_X_1_1"])
    [scan] = found("brats2019", folder, classes=("HGG",), contrasts=("T1Gd", "t2f")).values()
    assert names(scan) == {
        "T1Gd": "BraTS19_X_1_1_t1ce.nii.gz",
        "t2f": "BraTS19_X_1_1_flair.nii.gz",
    }
    with pytest.raises(ConfigError, match="one contrast by two names: t1c, t1ce"):
        found("brats2019", folder, classes=("HGG",), contrasts=("t1c", "t1ce"))
    with pytest.raises(ConfigError, match="pd, dwi unknown; BraTS holds t1, t1ce, t2, flair"):
        found("brats2019", folder, classes=("HGG",), contrasts=("t1", "pd", "dwi"))


@pytest.mark.parametrize("ending", ["", "_unstripped"])
def test_visits_of_upenn_gbm_share_a_patient(tmp_path: Path, ending: str) -> None:
    place = tmp_path / f"images_structural{ending}"
    for visit in ("UPENN-GBM-00006_11", "UPENN-GBM-00006_21", "UPENN-GBM-00009_11"):
        for name in ("T1", "T1GD", "T2", "FLAIR"):
            touch(place / visit / f"{visit}_{name}{ending}.nii.gz")
    touch(place / "UPENN-GBM-00006_11" / "UPENN-GBM-00006_11_DSC.nii.gz")
    table = write(
        tmp_path / "clinical.csv",
        "ID,IDH1\nUPENN-GBM-00006_11,Wildtype\nUPENN-GBM-00006_21,Mutated\n",
    )
    folder = place if ending else tmp_path
    scans = found("upenn", folder, table=table, label="IDH1", contrasts=("t1ce", "flair"))
    assert [(s.subject_id, s.patient_id, s.label, s.source) for s in scans.values()] == [
        ("UPENN-GBM-00006_11", "UPENN-GBM-00006", "Wildtype", "UPENN"),
        ("UPENN-GBM-00006_21", "UPENN-GBM-00006", "Mutated", "UPENN"),
        ("UPENN-GBM-00009_11", "UPENN-GBM-00009", "", "UPENN"),
    ]
    assert {scan.stripped for scan in scans.values()} == {not ending}
    assert names(scans["UPENN-GBM-00006_11"]) == {
        "t1ce": f"UPENN-GBM-00006_11_T1GD{ending}.nii.gz",
        "flair": f"UPENN-GBM-00006_11_FLAIR{ending}.nii.gz",
    }
    assert scans["UPENN-GBM-00009_11"].fault == "not listed in clinical.csv"


def test_ixi_names_give_patient_and_site_in_one_folder_or_three(tmp_path: Path) -> None:
    heads = ("IXI012-HH-1211", "IXI002-Guys-0828")
    for name in ("T1", "T2", "PD", "MRA"):
        ixi(tmp_path / "all" / f"IXI-{name}", *(f"{head}-{name}.nii.gz" for head in heads))
    three = found("ixi", tmp_path / "all", contrasts=("pd", "t1"))
    assert [(s.patient_id, s.source, s.label, s.stripped) for s in three.values()] == [
        ("IXI002", "IXI-Guys", "Healthy", False),
        ("IXI012", "IXI-HH", "Healthy", False),
    ]
    assert names(three["IXI012-HH-1211"]) == {
        "pd": "IXI012-HH-1211-PD.nii.gz",
        "t1": "IXI012-HH-1211-T1.nii.gz",
    }
    alone = found("ixi", tmp_path / "all" / "IXI-T1")
    assert {name: scan.path for name, scan in alone.items()} == {
        name: scan.paths["t1"] for name, scan in three.items()
    }
    with pytest.raises(ConfigError, match="flair unknown; IXI holds t1, t2, pd"):
        found("ixi", tmp_path / "all", contrasts=("flair",))


def paper(tmp_path: Path, brats: Path, healthy: Path, **settings: object) -> list[Scan]:
    settings = {"ixi_count": 0, **settings}
    return find_scans(
        DataConfig(kind="brats_ixi", brats=str(brats), ixi=str(healthy), **settings)  # type: ignore[arg-type]
    )


def test_the_papers_cohort_pairs_t1ce_with_t1_from_either_year(tmp_path: Path) -> None:
    healthy = ixi(tmp_path / "i", "IXI012-HH-1211-T1.nii.gz", "IXI012-HH-1211-T2.nii.gz")
    years = (
        brats2019(tmp_path / "a", HGG=["BraTS19_X_1_1"], LGG=["BraTS19_X_2_1"]),
        brats2020(tmp_path / "b", _001=("HGG", "NA"), _002=("LGG", "NA"), _003=("NA", "NA")),
    )
    for folder in years:
        scans = [scan for scan in paper(tmp_path, folder, healthy) if not scan.fault]
        assert [scan.label for scan in scans] == ["LGG", "HGG", "Healthy"]
        assert [scan.path.name.rsplit(".nii")[0][-4:] for scan in scans] == ["t1ce", "t1ce", "1-T1"]
        both = paper(tmp_path, folder, healthy, contrasts=("t2", "t1"), classes=("HGG", "Healthy"))
        assert [list(scan.paths) for scan in both if not scan.fault] == [["t2", "t1"]] * 2


def test_a_contrast_that_one_part_lacks_throughout_is_refused(tmp_path: Path) -> None:
    brats = brats2019(tmp_path / "a", HGG=["BraTS19_X_1_1"], LGG=["BraTS19_X_2_1"])
    healthy = ixi(tmp_path / "i", "IXI012-HH-1211-T1.nii.gz")
    with pytest.raises(ConfigError, match="flair unknown; this cohort holds t1, t2"):
        paper(tmp_path, brats, healthy, contrasts=("t1", "flair"))
    graded = paper(tmp_path, brats, healthy, contrasts=("t1", "flair"), classes=("LGG", "HGG"))
    assert [list(scan.paths) for scan in graded] == [["t1", "flair"]] * 2
    filled = paper(tmp_path, brats, healthy, contrasts=("t1", "flair"), missing="zeros")
    assert [list(scan.paths) for scan in filled] == [["t1", "flair"]] * 2 + [["t1"]]


def test_the_ixi_draw_depends_on_its_seed_and_the_names_alone(tmp_path: Path) -> None:
    brats = brats2019(tmp_path / "brats")
    heads = [f"IXI{number:03d}-HH-{number:04d}-T1.nii.gz" for number in range(40)]
    first = ixi(tmp_path / "a", *heads)
    second = ixi(tmp_path / "b", *reversed(heads))

    def drawn(folder: Path, seed: int, **settings: object) -> list[str]:
        scans = paper(
            tmp_path, brats, folder, ixi_count=10, ixi_seed=seed, classes=("Healthy",), **settings
        )
        return [scan.subject_id for scan in scans]

    assert drawn(first, 0) == drawn(second, 0)
    assert len(set(drawn(first, 0))) == 10
    assert drawn(first, 0) != drawn(first, 1)
    # The same heads whatever the contrasts, which a sweep may compare; some lack one.
    one = drawn(first, 0, contrasts=("t1",))
    ixi(first, *(name.replace("-T1", "-T2") for name in heads[:11]))
    assert drawn(first, 0, contrasts=("t1", "t2")) == one
    assert drawn(first, 0, contrasts=("t2",)) == one


def test_an_ixi_head_without_the_contrast_is_listed_with_the_reason(tmp_path: Path) -> None:
    names = ("IXI012-HH-1211-T1", "IXI012-HH-1211-T2", "IXI002-Guys-0828-T1")
    folder = ixi(tmp_path, *(f"{name}.nii.gz" for name in names))
    scans = found("ixi", folder, contrasts=("t2",))
    assert not scans["IXI012-HH-1211"].fault
    assert "no t2" in scans["IXI002-Guys-0828"].fault


def test_phantom_folders_hold_both_cohorts(tmp_path: Path) -> None:
    brats2019(tmp_path / "MICCAI_BraTS_2019_Data_Training", HGG=["BraTS19_2013_0_1"])
    for name in ("T1", "T2"):
        ixi(tmp_path / f"IXI-{name}", f"IXI002-Guys-0828-{name}.nii.gz")
    scans = list(found("phantom", tmp_path).values())
    assert [scan.label for scan in scans] == ["HGG", "Healthy"]
    assert [scan.stripped for scan in scans] == [True, False]
    both = found("phantom", tmp_path, contrasts=("t1", "t2"))
    assert [len(scan.paths) for scan in both.values()] == [2, 2]
    four = found("phantom", tmp_path, contrasts=("flair", "t1ce"), classes=("HGG",))
    assert [list(scan.paths) for scan in four.values()] == [["flair", "t1ce"]]


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = brats2019(tmp_path / "b", HGG=["BraTS19_2013_0_1"])
    few = ixi(tmp_path / "i", "IXI002-Guys-0828-T1.nii.gz")
    empty = str(brats2019(tmp_path / "e"))
    given = {"brats": str(folder), "ixi": str(few)}
    cases = {
        r"data.ixi=DIR": DataConfig(kind="brats_ixi", brats=str(folder)),
        r"holds HGG and LGG": DataConfig(kind="brats_ixi", brats=str(few), ixi=str(few)),
        r"holds 1 subjects .*data.ixi_count=0 takes all": DataConfig(kind="brats_ixi", **given),
        r"holds 0 subjects with IXI\*-T2.*IXI-T2": DataConfig(
            kind="brats_ixi", **given, ixi_count=0, contrasts=("t2",)
        ),
        r"no case folders": DataConfig(kind="brats2019", folder=empty, classes=("HGG",)),
        r"BraTS and IXI holds": DataConfig(kind="brats_ixi", classes=("LGG", "GBM")),
        r"GBM unknown; BraTS holds": DataConfig(kind="brats2020", classes=("LGG", "GBM")),
        r"make the phantoms first": DataConfig(kind="phantom", folder=str(tmp_path / "none")),
        r"images_structural of UPENN-GBM": DataConfig(kind="upenn", folder=empty, table=empty),
    }
    for said, data in cases.items():
        with pytest.raises(UserError, match=said) as caught:
            find_scans(data)
        assert "\n" not in str(caught.value)
