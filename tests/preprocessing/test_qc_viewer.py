"""The images that the viewer shows: small, and where the scan is."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from preprocessing.chain import Processed
from preprocessing.nifti import Image
from preprocessing.qc.viewer import views_script
from tests.preprocessing.conftest import brain_values

KEY = "0123456789abcdef"


def views_of(path: Path) -> dict[str, tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    """Name → image and edge, as a browser would decode them."""
    found = re.fullmatch(r"showVolume\((.*?), (\[.*\])\);\n", path.read_text(encoding="ascii"))
    assert found
    assert json.loads(found[1]) == KEY

    def decoded(text: str) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))

    return {
        view["name"]: (decoded(view["image"]), decoded(view["edge"]))
        for view in json.loads(found[2])
    }


def centre_mm(image: nib.Nifti1Image) -> np.ndarray:
    """Centre of mass of an image in millimetres."""
    values = np.asarray(image.dataobj, float)
    places = np.indices(values.shape).reshape(3, -1)
    mean = (places * values.ravel()).sum(axis=1) / values.sum()
    return nib.affines.apply_affine(image.affine, mean)


@pytest.mark.parametrize("fine", [1, 3])
def test_the_views_lie_where_the_scan_does(tmp_path: Path, fine: int) -> None:
    values = np.kron(brain_values(0), np.ones((fine,) * 3, np.int16))
    spacing = 4.0 / fine
    affine = np.array(
        [[0, spacing, 0, -7], [-spacing, 0, 0, 30], [0, 0, spacing, 11], [0, 0, 0, 1]]
    )
    image = Image(values, affine)
    stored = np.where(brain_values(0) > 0, 0.5, 0).astype(np.float16).transpose(2, 1, 0)[None]
    stored_affine = np.diag([4.0, 4.0, 4.0, 1.0])
    made = Processed(image, values > 0, stored, stored_affine, ("scan",))
    (tmp_path / "views.js").write_bytes(views_script(KEY, made))
    views = views_of(tmp_path / "views.js")
    assert list(views) == ["as found", "stored"]
    for scan, edge in views.values():
        assert np.allclose(scan.affine, edge.affine)
        assert set(np.unique(edge.dataobj)) == {0, 1}
    scan, edge = views["as found"]
    assert min(scan.header.get_zooms()) == pytest.approx(4.0 if fine == 1 else 4 / 3 * 2)
    wanted = centre_mm(nib.Nifti1Image((values > 0).astype(np.uint8), affine))
    assert np.allclose(centre_mm(edge), wanted, atol=0.7)
    wanted = centre_mm(
        nib.Nifti1Image((stored[0] > 0).astype(np.uint8).transpose(2, 1, 0), stored_affine)
    )
    assert np.allclose(centre_mm(views["stored"][1]), wanted, atol=0.01)


def test_the_first_view_shows_what_lies_around_the_brain(tmp_path: Path) -> None:
    values = brain_values(0)
    head = np.where(values > 0, values, 500)
    stored = np.where(values > 0, 0.5, 0).astype(np.float16).transpose(2, 1, 0)[None]
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    made = Processed(Image(head, affine), values > 0, stored, affine, ("scan",))
    (tmp_path / "views.js").write_bytes(views_script(KEY, made))
    scan = np.asarray(views_of(tmp_path / "views.js")["as found"][0].dataobj)
    box = np.argwhere(values > 0)
    span = np.ptp(box, axis=0) + 1
    assert np.all(np.array(scan.shape) >= span + 4)  # 12 mm each way
    assert scan[0].min() > 0
    assert scan.dtype == np.uint8
    assert len(np.unique(scan)) <= 32
