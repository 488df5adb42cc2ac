"""Pictures of subjects: what is on the right appears where the mark says right."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from stfmri.evidence.methods.montage import (
    GAP,
    MARK_GREY,
    MARK_SIZE,
    PANEL,
    Mistake,
    MistakeCard,
    cards_of,
    montage,
    picture_of,
)
from stfmri.study.config.data import DataConfig
from stfmri.study.shards import Volumes
from tests.evidence.test_methods import rendered
from tests.tiny import tiny_cache, tiny_config

SHAPE_DHW = (30, 40, 50)
ISOTROPIC = np.full(3, 2.0)
# Axis of (D, H, W) that grows towards each side.
SIDES = {"superior": 0, "anterior": 1, "right": 2}
# Where each side is in the three panels: (panel, axis of the picture, whether at its far end).
PLACES = {
    "right": [(0, 1, True), (1, 1, True)],
    "anterior": [(0, 0, False), (2, 1, True)],
    "superior": [(1, 0, False), (2, 0, False)],
}


def panels(png: bytes) -> list[np.ndarray]:
    picture = np.asarray(Pillow.open(io.BytesIO(png)).convert("L")).astype(float)
    assert picture.shape == (PANEL, 3 * PANEL + 2 * GAP)
    return [picture[:, start : start + PANEL] for start in (0, PANEL + GAP, 2 * (PANEL + GAP))]


def phantom(side: str) -> np.ndarray:
    """A dim ellipsoid whose half on one side is bright."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE_DHW), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.8
    return np.where(brain, np.where(axes[SIDES[side]] > 0.1, 0.8, 0.2), 0).astype(np.float16)


@pytest.mark.parametrize("side", SIDES)
def test_a_bright_side_is_where_its_mark_says(side: str) -> None:
    drawn = panels(montage(phantom(side), ISOTROPIC))
    for panel, axis, far in PLACES[side]:
        # Marks are in the upper corners: leave the panel's rim out.
        inner = drawn[panel][22:-22, 22:-22]
        near_half, far_half = np.array_split(inner, 2, axis=axis)
        bright, dim = (far_half, near_half) if far else (near_half, far_half)
        assert bright.mean() > 2 * dim.mean()


@pytest.mark.parametrize(("panel", "left", "right"), [(0, "L", "R"), (1, "L", "R"), (2, "P", "A")])
def test_the_marks_stand_on_their_sides(panel: int, left: str, right: str) -> None:
    drawn = panels(montage(np.zeros(SHAPE_DHW, np.float16), ISOTROPIC))[panel]
    half = PANEL // 2
    for letter, part in ((left, drawn[:, :half]), (right, drawn[:, half:])):
        assert np.array_equal(cropped(part), cropped(glyph(letter)))
    assert not np.array_equal(cropped(drawn[:, :half]), cropped(drawn[:, half:]))


def glyph(letter: str) -> np.ndarray:
    picture = Pillow.new("L", (40, 40))
    font = ImageFont.load_default(MARK_SIZE)
    ImageDraw.Draw(picture).text((10, 10), letter, font=font, fill=MARK_GREY)
    return np.asarray(picture).astype(float)


def cropped(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(picture > 127)
    return picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] > 127


def test_a_ball_stays_round_where_voxels_are_not_cubes() -> None:
    spacing_WHD = np.array([1.0, 2.0, 4.0])
    axes = [(np.arange(80 / step) - 40 / step) * step for step in spacing_WHD[::-1]]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    ball = (distance < 30).astype(np.float16)
    for drawn in panels(montage(ball, spacing_WHD)):
        rows, columns = np.nonzero(drawn[22:] > 127)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height / width == pytest.approx(1, abs=0.15)


def test_planes_go_through_the_centre_of_mass() -> None:
    volume = np.zeros(SHAPE_DHW, np.float16)
    volume[3:8, 30:36, 5:10] = 0.9  # far from the volume's own middle
    for drawn in panels(montage(volume, ISOTROPIC)):
        assert drawn[PANEL // 2, PANEL // 2] > 200


def test_cards_are_small_and_survive_a_lost_shard(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    rows = tiny_cache(config)
    mistake = Mistake(rows[0].subject_id, "S", "LGG", "HGG", 0.97, 3, 4)
    (card,) = cards_of([mistake], Volumes(config.cache, rows))
    head, _, data = card.picture.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert len(card.picture) < 40_000
    (config.cache / "shard-0000.h5").unlink()
    assert picture_of(Volumes(config.cache, rows), rows[0].subject_id) == ("", "")


def test_of_several_contrasts_the_first_that_is_there_is_shown_and_named(tmp_path: Path) -> None:
    data = DataConfig(name="two", contrasts=("t1ce", "flair"), missing="zeros")
    config = tiny_config(tmp_path, data=data)
    rows = tiny_cache(config, lacking=[("LGG-00", "t1ce")])
    volumes = Volumes(config.cache, rows)
    spacing = np.full(3, 10.0)
    for name, contrast, channel in (("LGG-00", "flair", 1), ("LGG-01", "t1ce", 0)):
        picture, shown = picture_of(volumes, name)
        assert shown == contrast
        drawn = base64.b64decode(picture.partition(",")[2])
        assert drawn == montage(volumes[name][channel], spacing)
    mistake = Mistake("LGG-00", "S", "LGG", "HGG", 0.9, 1, 1)
    page = rendered("_mistakes.html.j2", cards=cards_of([mistake], volumes))
    assert "<dt>Shown</dt><dd>flair</dd>" in page
    (card,) = cards_of([mistake], Volumes(config.cache, rows))
    assert card.contrast == "flair"


def test_cards_escape_names_and_say_what_is_missing() -> None:
    nasty = Mistake('<img src=x onerror="y">', "a<b", "x&y", "<b>", 0.984, 5, 6)
    page = rendered("_mistakes.html.j2", cards=[MistakeCard(nasty, "")])
    assert "<img" not in page
    assert "&lt;img src=x onerror=&#34;y&#34;&gt;" in page
    assert "(98 %)" in page
    assert "5 of 6 tests of all networks" in page
    assert "No picture" in page
