"""What surrounds a healthy brain: fluid, skull and scalp, face and neck."""

from __future__ import annotations

import numpy as np

from preprocessing.phantom.anatomy import Tissue
from preprocessing.phantom.atlas import BASE_Z, Atlas
from preprocessing.phantom.config import Head
from preprocessing.phantom.fields import ramp, smooth_field


def add_head(
    brain: np.ndarray,
    tissue: Tissue,
    look: Head,
    atlas: Atlas,
    rng: np.random.Generator,
) -> np.ndarray:
    """Wrap the brain in fluid, skull and scalp, and put face and neck below.

    Layer after layer from the inside out, each blended over the last where its own begins.

    Args:
        brain: Intensity, white matter = 1.
        tissue: The same subject's anatomy.
        look: Ranges of thickness and intensity.
        atlas: The template head.
        rng: Random stream.

    Returns:
        float32, shape of `brain`.
    """
    depth, axes = tissue.depth, tissue.axes_mm

    def varying(range_mm: tuple[float, float], share: float) -> np.ndarray:
        return rng.uniform(*range_mm) * (1 + share * smooth_field(rng, axes, 45.0)).clip(0.5, 1.5)

    edge = 1.5
    fluid, skull, scalp = (
        varying(look.csf_mm, 0.2),
        varying(look.skull_mm, 0.15),
        varying(look.scalp_mm, 0.15),
    )
    bone, marrow, fat = (rng.uniform(*r) for r in (look.bone, look.diploe, look.fat))
    muscle, skin = rng.uniform(*look.muscle), rng.uniform(*look.skin)
    face = atlas.head.sample("face", tissue.points_mni, 60.0)
    lower = atlas.head.sample("lower", tissue.points_mni, 0.0)
    temporalis = atlas.head.sample("temporalis", tissue.points_mni, 0.0)
    height = tissue.points_mni[2]
    patches = smooth_field(rng, axes, 9.0)

    image = brain
    across = (depth - fluid) / skull
    diploe = marrow * np.exp(-(((across - 0.5) / 0.2) ** 2)) * (0.7 + 0.3 * patches).clip(0, 1.3)
    # The base of the skull is thin, uneven bone, open where the spinal cord leaves.
    vault = ramp(height - BASE_Z + 8 * patches, 20.0)
    opening = atlas.head.sample("opening", tissue.points_mni, 0.0)
    image = _over(image, bone + diploe * (0.3 + 0.7 * vault), depth - fluid, edge)
    outer_table = fluid + skull * (0.55 + 0.45 * vault) * (1 - opening)
    strands = smooth_field(rng, axes, 5.0)
    soft = fat * (1 + 0.12 * patches + 0.15 * strands)
    image = _over(image, soft, depth - outer_table, edge)
    muscle_mm = 7.0 * temporalis
    image += (
        (muscle - image)
        * ramp(depth - outer_table, edge)
        * ramp(outer_table + muscle_mm - depth, edge)
    )
    surface = np.minimum(depth - (outer_table + muscle_mm + scalp), face)
    buried = ramp(-face - 5.0, 4.0) * ramp(depth - outer_table, edge)
    image += (lower * (1 + 0.08 * patches + 0.12 * strands) - image) * buried
    image = _over(image, skin, surface + 1.8, 1.5)
    return _over(image, 0.0, surface, edge)


def _over(
    image: np.ndarray, layer: np.ndarray | float, distance_mm: np.ndarray, edge_mm: float
) -> np.ndarray:
    """Lay `layer` over `image` where `distance_mm` is positive, with a soft edge."""
    return image + (layer - image) * ramp(distance_mm, edge_mm)
