"""The chain from one subject's files to one volume of the cache: the same for every caller.

`python -m preprocessing`, `launch/preprocess.py`, `launch/predict.py` and the benchmarks all call
`read` and `process`; nothing else turns a scan into a volume.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from preprocessing.brain import Mask, find_brain, recipe, stripped_brain
from preprocessing.chain.fields import Field, anchored_field, fixed_field
from preprocessing.chain.geometry import Grid, Matrix, inverse
from preprocessing.chain.matching import brain_points, share_inside
from preprocessing.chain.registration import Alignment, align
from preprocessing.chain.template import align_to_mni, mni_template
from preprocessing.chain.timing import timed
from preprocessing.chain.transforms import COVERED, Sampler, carried_mask, scale
from preprocessing.cohorts import Scan
from preprocessing.extraction.threads import one_thread
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from stfmri.study.config import Config
from stfmri.study.config.data import PreprocessingConfig
from stfmri.study.serialise import dump_yaml

# Of a brain, in the field of a template's space: less is a registration that went wrong.
LEAST_WITHIN = 0.99
# A head without its background is larger than any brain.
LEAST_HEAD_ML = 2200.0


@dataclass(frozen=True)
class Chain:
    """What the chain does, the same for every subject of a cache.

    Attributes:
        settings: every key that a stored voxel depends on, as `Config.chain` has them.
        contrasts: the channels of a volume, in order.
        fill: whether a contrast that a subject lacks becomes a channel of zeros.
    """

    preprocessing: PreprocessingConfig
    settings: dict[str, object]
    contrasts: tuple[str, ...]
    fill: bool = False

    @classmethod
    def of(cls, config: Config) -> Chain:
        """The chain that a configuration asks for."""
        return cls(
            preprocessing=config.preprocessing,
            settings=config.chain,
            contrasts=config.data.channels,
            fill=config.data.missing == "zeros",
        )

    def as_text(self) -> str:
        """What is stored with the volumes: the settings, and the recipe of the brain masks."""
        return dump_yaml({**self.settings, "extraction": recipe(self.preprocessing.skullstrip)})


@dataclass(frozen=True)
class Sources:
    """One subject's files as read, and the key of the volume that they become."""

    scan: Scan
    contents: dict[str, bytes]  # contrast → the file's bytes
    key: str

    @cached_property
    def images(self) -> dict[str, Image]:
        """The scans that the files hold, by contrast; decoded once.

        Raises:
            ScanError: where one is no 3-D scan.
        """
        return {name: _parsed(self, name) for name in self.contents}

    @property
    def scan_sha256(self) -> str:
        """Hash of the first contrast's stored numbers, whatever its header or compression."""
        data = next(iter(self.images.values())).data
        return hashlib.sha256(np.ascontiguousarray(data).data).hexdigest()


@dataclass(frozen=True)
class Processed:
    """One subject's volume, and what quality control needs to judge it.

    Attributes:
        reference: the first contrast that is there, as read; the others are brought to it.
        brain: the brain on the reference's grid.
        volume_CDHW: float16, in [0, 1], 0 outside the brain.
        affine: (w, h, d, 1) → RAS millimetres.
        missing: contrasts whose channel is all zeros.
        facts: numbers about the steps, by name: those of `align` and `align_to_mni`,
            `clipped_<contrast>` (part of the brain at or beyond its percentiles) and, of a
            contrast on a grid of its own, `covered_<contrast>` (part of the brain in its field).
        seconds: spent on each step.
    """

    reference: Image
    brain: Mask
    volume_CDHW: NDArray[np.float16]
    affine: NDArray[np.float64]
    contrasts: tuple[str, ...]
    missing: tuple[str, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def channels(self) -> dict[str, NDArray[np.float16]]:
        """The channel (D, H, W) of each contrast that is there, the reference's first."""
        named = zip(self.contrasts, self.volume_CDHW, strict=True)
        return {name: channel for name, channel in named if name not in self.missing}


def read(scan: Scan, chain: Chain) -> Sources:
    """Read a subject's files, once, for both their hash and their voxels.

    Raises:
        ScanError: where a file cannot be read or a contrast is missing.
    """
    if scan.fault:
        raise ScanError(scan.fault)
    absent = [name for name in chain.contrasts if name not in scan.paths]
    if absent and not (chain.fill and scan.paths):
        raise ScanError(
            f"has no {' and no '.join(absent)}; leave the subject out, or keep it with "
            "data.missing=zeros"
        )
    contents = {}
    for name in chain.contrasts:
        if name in scan.paths:
            contents[name] = read_bytes(scan.paths[name])
    return Sources(scan, contents, _key(scan, contents, chain))


def process(sources: Sources, chain: Chain, masks: Path) -> Processed:
    """Make the volume: contrasts are registered where needed, and each is interpolated once.

    Args:
        masks: the folder where extracted brain masks are kept.

    Raises:
        ScanError: where a scan cannot be used.
    """
    try:
        return _process(sources, chain, masks)
    except RuntimeError as error:
        # What ITK cannot do with a scan is the scan's fault, not the program's.
        if "ITK" not in str(error):
            raise
        reason = str(error).strip().splitlines()[-1].rpartition("): ")[2].rstrip(".")
        raise ScanError(f"too few voxels to work with ({reason})") from error


def _process(sources: Sources, chain: Chain, masks: Path) -> Processed:
    scan, settings = sources.scan, chain.preprocessing
    seconds: dict[str, float] = {}
    with timed(seconds, "read"):
        images = sources.images
    first, reference = next(iter(images.items()))
    with timed(seconds, "brain"):
        digest = hashlib.sha256(sources.contents[first]).hexdigest()
        brain = find_brain(reference, digest, scan.mask, scan.stripped, settings.skullstrip, masks)
        facts: dict[str, float] = {}
        if scan.mask is None and not scan.stripped and _looks_stripped(reference):
            facts["looks_stripped"] = 1.0
    with timed(seconds, "register"):
        space: Matrix = np.eye(4)
        if settings.register == "mni":
            space, found = align_to_mni(reference, brain)
            facts |= found
        alignments = {
            name: align(reference, brain, image, name, stripped=scan.stripped)
            for name, image in images.items()
        }
    with timed(seconds, "transform"):
        volume_CDHW, grid, found = _volume(images, alignments, brain, space, chain)
    for alignment in alignments.values():
        facts |= alignment.facts
    return Processed(
        reference=reference,
        brain=brain,
        volume_CDHW=volume_CDHW,
        affine=grid.affine,
        contrasts=chain.contrasts,
        missing=tuple(name for name in chain.contrasts if name not in images),
        facts={**facts, **found},
        seconds=seconds,
    )


def _looks_stripped(image: Image) -> bool:
    """Whether so little stands out from one background value that there can be no head around."""
    voxel_ml = float(np.prod(image.spacing)) / 1000
    return bool(np.count_nonzero(stripped_brain(image)) * voxel_ml < LEAST_HEAD_ML)


def _parsed(sources: Sources, name: str) -> Image:
    try:
        return parse(sources.contents[name])
    except ScanError as error:
        raise _named(error, name, sources.contents) from error


def _named(error: ScanError, name: str, among: Collection[str]) -> ScanError:
    """The error with the contrast that it is about, where there are several."""
    return ScanError(f"{name}: {error}") if len(among) > 1 else error


def _volume(
    images: dict[str, Image],
    alignments: dict[str, Alignment],
    brain: Mask,
    space: Matrix,
    chain: Chain,
) -> tuple[NDArray[np.float16], Grid, dict[str, float]]:
    """Sample every contrast on the subject's grid.

    Args:
        alignments: of each contrast to the reference, the first of `images`.
        brain: on the reference's grid.
        space: the volume's world → the reference's world.

    Returns:
        The volume (C, D, H, W), its grid, and facts about it.
    """
    settings = chain.preprocessing
    reference = next(iter(images.values()))
    of_reference = Sampler.of(brain, reference.affine, settings, space)
    place = _field(brain, reference, space, of_reference, settings)
    brain_DHW = place.brain_DHW
    facts: dict[str, float] = {}
    volume_CDHW = np.zeros((len(chain.contrasts), *settings.shape), np.float16)
    for name, image in images.items():
        sampler, share_DHW = of_reference, place.share_DHW
        try:
            if not alignments[name].on_grid:
                sampler = _registered_sampler(
                    image, alignments[name], brain, reference, space, settings
                )
                share_DHW = sampler.share(place.inner)
                facts[f"covered_{name}"] = float((share_DHW[brain_DHW] > COVERED).mean())
            scaled_KJI, facts[f"clipped_{name}"] = _scaled(image, sampler, settings)
        except ScanError as error:
            raise _named(error, name, images) from error
        sampled_DHW = sampler.sample(scaled_KJI, place.inner, share_DHW)
        channel_DHW = volume_CDHW[chain.contrasts.index(name)]
        channel_DHW[place.part] = np.where(brain_DHW, sampled_DHW, 0)
    return volume_CDHW, place.grid, facts


def _field(
    brain: Mask, reference: Image, space: Matrix, sampler: Sampler, settings: PreprocessingConfig
) -> Field:
    """The field around the brain; in the template's space it is the same for every subject."""
    if settings.register == "none":
        return anchored_field(brain, reference.affine, sampler, settings)
    place = fixed_field(mni_template().centre, sampler, settings)
    points = apply_affine(inverse(space), brain_points(reference, brain))
    within = share_inside(points, place.grid.affine, place.grid.shape_WHD)
    if within < LEAST_WITHIN:
        raise ScanError(
            f"only {within:.0%} of the brain lies in the field once registered to the template; "
            "look at its mask, or enlarge preprocessing.field_mm"
        )
    return place


def _registered_sampler(
    image: Image,
    alignment: Alignment,
    brain: Mask,
    reference: Image,
    space: Matrix,
    settings: PreprocessingConfig,
) -> Sampler:
    """The sampler of a contrast on a grid of its own, through the reference's brain."""
    carried = carried_mask(brain, reference.affine, image, alignment.matrix)
    if not carried.any():
        raise ScanError("its field does not reach the brain of the first contrast")
    return Sampler.of(carried, image.affine, settings, alignment.matrix @ space)


def _scaled(
    image: Image, sampler: Sampler, settings: PreprocessingConfig
) -> tuple[NDArray[np.float32], float]:
    """The contrast's values around the brain, from 0 to 1, and the part that was clipped."""
    values_KJI = np.ascontiguousarray(image.values(sampler.box).T)
    if settings.bias == "n4":
        # Late: it brings torch, which every worker would import for seconds.
        from preprocessing.chain.bias import unshaded

        with one_thread():
            values_KJI = unshaded(values_KJI, sampler.brain_KJI, image.spacing)
    return scale(values_KJI, sampler.brain_KJI, settings.percentiles)


def _key(scan: Scan, contents: dict[str, bytes], chain: Chain) -> str:
    """Hash of all that the stored voxels depend on: the files, the mask and the chain.

    Raises:
        ScanError: where the scan's mask cannot be read.
    """
    brain = "stripped" if scan.stripped else recipe(chain.preprocessing.skullstrip)
    if scan.mask is not None:
        try:
            brain = hashlib.sha256(read_bytes(scan.mask)).hexdigest()
        except ScanError as error:
            raise ScanError(f"mask {scan.mask.name}: {error}") from error
    parts = {
        "chain": chain.settings,
        "brain": brain,
        "stripped": scan.stripped,
        "scans": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
