"""Two real subjects with four contrasts, laid out as three data sets, are the same subjects."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.chain import Chain, process, read
from preprocessing.cohorts import find_scans
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.shards import voxel_sha256
from tests.preprocessing.layouts import MAPPING_HEADER, write

CONTRASTS = ("t1", "t1ce", "t2", "flair")
IN_BIDS = {"t1": "T1w", "t1ce": "ce-gadolinium_T1w", "t2": "T2w", "flair": "FLAIR"}
GRADES = {"UPENN-GBM-00006_GBM": "HGG", "TCGA-DU-7294_LGG": "LGG"}


@pytest.fixture
def glioma(real_data: Path) -> dict[str, dict[str, Path]]:
    """Grade → contrast → file."""
    names = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
    return {
        grade: {
            contrast: real_data / "glioma" / f"{subject}_{name}_stripped_SRI24.nii.gz"
            for contrast, name in names.items()
        }
        for subject, grade in GRADES.items()
    }


def link(target: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def as_2019(folder: Path, glioma: dict[str, dict[str, Path]]) -> DataConfig:
    for grade, files in glioma.items():
        case = f"BraTS19_X_{grade}_1"
        for contrast, path in files.items():
            link(path, folder / grade / case / f"{case}_{contrast}.nii.gz")
    return DataConfig(kind="brats2019", folder=str(folder), contrasts=CONTRASTS)


def as_2020(folder: Path, glioma: dict[str, dict[str, Path]]) -> DataConfig:
    lines = [MAPPING_HEADER]
    for number, (grade, files) in enumerate(glioma.items()):
        case = f"BraTS20_Training_{number:03d}"
        lines.append(f"{grade},NA,NA,NA,BraTS19_X_{grade}_1,{case}")
        for contrast, path in files.items():
            link(path, folder / case / f"{case}_{contrast}.nii.gz")
    write(folder / "name_mapping.csv", "\n".join(lines))
    return DataConfig(kind="brats2020", folder=str(folder), contrasts=CONTRASTS)


def as_bids(folder: Path, glioma: dict[str, dict[str, Path]]) -> DataConfig:
    for grade, files in glioma.items():
        for contrast, path in files.items():
            name = f"sub-{grade}_{IN_BIDS[contrast]}.nii.gz"
            link(path, folder / f"sub-{grade}" / "anat" / name)
    write(folder / "participants.tsv", "participant_id\tlabel\nsub-HGG\tHGG\nsub-LGG\tLGG\n")
    return DataConfig(kind="bids", folder=str(folder), contrasts=CONTRASTS, stripped=True)


@pytest.mark.parametrize("lay_out", [as_2019, as_2020, as_bids])
def test_three_layouts_find_the_same_files_in_the_same_order(
    tmp_path: Path, glioma: dict[str, dict[str, Path]], lay_out
) -> None:
    scans = {scan.label: scan for scan in find_scans(lay_out(tmp_path, glioma))}
    assert set(scans) == set(glioma)
    for grade, scan in scans.items():
        assert scan.stripped
        assert not scan.fault
        found = [(name, path.resolve()) for name, path in scan.paths.items()]
        assert found == [(name, path.resolve()) for name, path in glioma[grade].items()]


@pytest.mark.slow
def test_three_layouts_give_the_same_voxels(
    tmp_path: Path, glioma: dict[str, dict[str, Path]]
) -> None:
    found: dict[str, set[str]] = {grade: set() for grade in glioma}
    for number, lay_out in enumerate((as_2019, as_2020, as_bids)):
        data = lay_out(tmp_path / str(number), glioma)
        chain = Chain.of(Config(data=data, preprocessing=PreprocessingConfig(spacing_mm=4)))
        for scan in find_scans(data):
            made = process(read(scan, chain), chain, tmp_path)
            assert made.volume_CDHW.shape == (4, 39, 60, 60)
            assert all(channel.any() for channel in made.volume_CDHW)
            found[scan.label].add(voxel_sha256(made.volume_CDHW))
    assert all(len(hashes) == 1 for hashes in found.values())
    assert len(set.union(*found.values())) == 2
