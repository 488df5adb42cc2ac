"""What surrounds a healthy brain: fluid, skull and scalp, face and neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocessing.phantom.anatomy import Tissue
from preprocessing.phantom.atlas import BASE_Z, Atlas, Grid
from preprocessing.phantom.config import Head, HeadTissues
from preprocessing.phantom.fields import ramp, smooth_field

# Width of the soft edge between two layers, mm.
EDGE_MM = 1.5


@dataclass(frozen=True)
class HeadLook:
    """Intensity of each layer in one contrast, white matter = 1."""

    bone: float
    diploe: float
    fat: float
    muscle: float
    skin: float


@dataclass(frozen=True)
class Shell:
    """The layers around one brain, the same in every contrast.

    Distances and thicknesses are in mm: `depth` outside the brain's hull, `fluid` between hull and
    skull, `outer_table` from the hull to the skull's outer surface, `muscle_mm` of the temporalis
    on top of it, `surface` outside the skin. `across` runs from 0 to 1 through the skull, `vault`
    from 0 (base of the skull) to 1, `buried` from 0 to 1 where face and neck lie; `patches` and
    `strands` are fields of variance 1.
    """

    depth: np.ndarray
    fluid: np.ndarray
    across: np.ndarray
    vault: np.ndarray
    outer_table: np.ndarray
    muscle_mm: np.ndarray
    surface: np.ndarray
    buried: np.ndarray
    points_mni: np.ndarray
    patches: np.ndarray
    strands: np.ndarray


def draw_shell(
    tissue: Tissue, ranges: Head, atlas: Atlas, rng: np.random.Generator
) -> tuple[Shell, HeadLook]:
    """Draw the layers of a head and, from the same stream, their look on T1.

    Args:
        tissue: The same subject's anatomy.
        ranges: Thickness and intensity.
        atlas: The template head.
        rng: Random stream.
    """
    depth, axes = tissue.depth, tissue.axes_mm

    def varying(range_mm: tuple[float, float], share: float) -> np.ndarray:
        return rng.uniform(*range_mm) * (1 + share * smooth_field(rng, axes, 45.0)).clip(0.5, 1.5)

    fluid, skull, scalp = (
        varying(ranges.csf_mm, 0.2),
        varying(ranges.skull_mm, 0.15),
        varying(ranges.scalp_mm, 0.15),
    )
    look = draw_head_look(ranges, rng)
    face = atlas.head.sample("face", tissue.points_mni, 60.0)
    temporalis = atlas.head.sample("temporalis", tissue.points_mni, 0.0)
    height = tissue.points_mni[2]
    patches = smooth_field(rng, axes, 9.0)

    across = (depth - fluid) / skull
    # The base of the skull is thin, uneven bone, open where the spinal cord leaves.
    vault = ramp(height - BASE_Z + 8 * patches, 20.0)
    opening = atlas.head.sample("opening", tissue.points_mni, 0.0)
    outer_table = fluid + skull * (0.55 + 0.45 * vault) * (1 - opening)
    strands = smooth_field(rng, axes, 5.0)
    muscle_mm = 7.0 * temporalis
    shell = Shell(
        depth=depth,
        fluid=fluid,
        across=across,
        vault=vault,
        outer_table=outer_table,
        muscle_mm=muscle_mm,
        surface=np.minimum(depth - (outer_table + muscle_mm + scalp), face),
        buried=ramp(-face - 5.0, 4.0) * ramp(depth - outer_table, EDGE_MM),
        points_mni=tissue.points_mni,
        patches=patches,
        strands=strands,
    )
    return shell, look


def draw_head_look(ranges: HeadTissues, rng: np.random.Generator) -> HeadLook:
    """Draw the look of the layers in one contrast."""
    return HeadLook(
        bone=rng.uniform(*ranges.bone),
        diploe=rng.uniform(*ranges.diploe),
        fat=rng.uniform(*ranges.fat),
        muscle=rng.uniform(*ranges.muscle),
        skin=rng.uniform(*ranges.skin),
    )


def add_head(brain: np.ndarray, shell: Shell, look: HeadLook, lower: Grid) -> np.ndarray:
    """Wrap the brain in fluid, skull and scalp, and put face and neck below.

    Layer after layer from the inside out, each blended over the last where its own begins.

    Args:
        brain: Intensity, white matter = 1.
        shell: The layers.
        look: Their intensity in this contrast.
        lower: What lies below the skull, in this contrast.

    Returns:
        float32, shape of `brain`.
    """
    depth, patches, outer_table = shell.depth, shell.patches, shell.outer_table
    bands = np.exp(-(((shell.across - 0.5) / 0.2) ** 2))
    diploe = look.diploe * bands * (0.7 + 0.3 * patches).clip(0, 1.3)
    image = _over(brain, look.bone + diploe * (0.3 + 0.7 * shell.vault), depth - shell.fluid)
    soft = look.fat * (1 + 0.12 * patches + 0.15 * shell.strands)
    image = _over(image, soft, depth - outer_table)
    image += (
        (look.muscle - image)
        * ramp(depth - outer_table, EDGE_MM)
        * ramp(outer_table + shell.muscle_mm - depth, EDGE_MM)
    )
    below = lower.sample("lower", shell.points_mni, 0.0)
    below = below * (1 + 0.08 * patches + 0.12 * shell.strands)
    image += (below - image) * shell.buried
    image = _over(image, look.skin, shell.surface + 1.8)
    return _over(image, 0.0, shell.surface)


def _over(image: np.ndarray, layer: np.ndarray | float, distance_mm: np.ndarray) -> np.ndarray:
    """Lay `layer` over `image` where `distance_mm` is positive, with a soft edge."""
    return image + (layer - image) * ramp(distance_mm, EDGE_MM)
