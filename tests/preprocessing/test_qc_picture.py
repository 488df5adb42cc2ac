"""The pictures of the quality page."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Pillow

from preprocessing.chain import Processed
from preprocessing.nifti import Image
from preprocessing.qc.picture import INNER, OUTLINE, PANEL, PANEL_MM, montage, picture
from tests.preprocessing.conftest import brain_values

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def pixels(image: Image, brain: np.ndarray) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(montage(image, brain))).convert("RGB"))


def test_the_outline_in_each_panel_has_the_size_of_the_brain() -> None:
    radii_mm = (65, 85, 60)
    values = brain_values(0, radii_mm)
    line = (pixels(Image(values, AFFINE), values > 0) == OUTLINE).all(axis=2)
    for panel, (across, up) in enumerate([(0, 1), (0, 2), (1, 2)]):
        ys, xs = np.nonzero(line[:, panel * PANEL : (panel + 1) * PANEL])
        mm = PANEL_MM / PANEL
        assert abs((np.ptp(xs) + 1) * mm - 2 * radii_mm[across]) < 6
        assert abs((np.ptp(ys) + 1) * mm - 2 * radii_mm[up]) < 6


def test_superior_is_up_and_right_is_right_whatever_the_axes() -> None:
    values = brain_values(0)
    values[30:, :, 30:] = np.where(values[30:, :, 30:] > 0, 5000, 0)  # right and superior
    flipped = np.diag([-4.0, 4.0, 4.0, 1.0])
    for image in (Image(values, AFFINE), Image(values[::-1], flipped)):
        coronal = pixels(image, image.data > 0)[:, PANEL : 2 * PANEL].mean(axis=2)
        half = PANEL // 2
        quarters = {
            "left up": coronal[:half, :half],
            "right up": coronal[:half, half:],
            "left down": coronal[half:, :half],
            "right down": coronal[half:, half:],
        }
        assert max(quarters, key=lambda name: quarters[name].mean()) == "right up"


def test_a_picture_takes_little_time_and_room() -> None:
    values = np.kron(brain_values(0), np.ones((4, 4, 4), np.int16))
    image = Image(values, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert len(montage(image, values > 0)) < 60_000


def with_ventricle(shift: int) -> np.ndarray:
    """A stored channel of 4 mm with a dark box in the middle, moved to the right by `shift`."""
    volume = np.where(brain_values(0) > 0, 0.8, 0).astype(np.float16).transpose(2, 1, 0)
    middle = [size // 2 for size in volume.shape]
    box = tuple(slice(centre - 3, centre + 3) for centre in middle)
    dark = volume.copy()
    dark[box] = 0.1
    return np.where(volume > 0, np.roll(dark, shift, 2), 0).astype(np.float16)


def test_every_contrast_has_a_row_with_the_lines_of_the_first() -> None:
    values = brain_values(0)
    channels = np.stack([with_ventricle(0), with_ventricle(0), with_ventricle(5)])
    made = Processed(Image(values, AFFINE), values > 0, channels, AFFINE, ("t1", "t2", "flair"))
    drawn = np.asarray(Pillow.open(io.BytesIO(picture(made))).convert("RGB"))
    assert drawn.shape == (3 * PANEL, 3 * PANEL, 3)
    rows = [drawn[number * PANEL : (number + 1) * PANEL] for number in range(3)]
    inner = [(row == INNER).all(axis=2) for row in rows]
    assert not inner[0].any()  # the first contrast needs no line of its own
    assert inner[1].any()
    np.testing.assert_array_equal(inner[1], inner[2])
    # Registered, the line holds dark voxels; moved by 20 mm, it does not.
    ys, xs = np.nonzero(inner[1][:, :PANEL])
    held = (slice(ys.min() + 3, ys.max() - 2), slice(xs.min() + 3, xs.max() - 2))
    assert rows[1][held].mean() < 0.5 * rows[2][held].mean()


def test_a_missing_contrast_has_no_row() -> None:
    values = brain_values(0)
    channels = np.stack([with_ventricle(0), np.zeros_like(with_ventricle(0))])
    made = Processed(
        Image(values, AFFINE), values > 0, channels, AFFINE, ("t1", "t2"), missing=("t2",)
    )
    assert Pillow.open(io.BytesIO(picture(made))).size == (3 * PANEL, PANEL)
