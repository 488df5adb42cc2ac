"""Heavy augmentation, wholly TorchIO's, applied by loader processes.

Light augmentation, then elastic deformation and k-space motion, spike and ghosting (paper: 'Data
augmentation', where it did worse than light). The only file of this room that needs TorchIO, and
it is imported for `augment=heavy` alone.
"""

from __future__ import annotations

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from stfmri.learning.seeds import Use, mix
from stfmri.study.config.training import AugmentConfig


class HeavyAugmentation:
    """A random change to one volume that depends on seed, epoch and sample alone.

    Drawn once for all of its channels, which stay in register.
    """

    def __init__(self, augment: AugmentConfig, spacing_mm: float, seed: tuple[int, ...]) -> None:
        # Elastic displacements and motion are drawn in millimetres.
        self._affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1])
        self._seed = seed
        self._transform = tio.Compose(
            [
                tio.RandomAffine(
                    scales=augment.scale,
                    degrees=augment.degrees,
                    default_pad_value=0,
                    p=augment.affine_probability,
                ),
                tio.RandomFlip(axes=(0,), flip_probability=augment.flip_probability),
                tio.RandomElasticDeformation(p=augment.elastic_probability),
                tio.RandomMotion(p=augment.motion_probability),
                tio.RandomSpike(p=augment.spike_probability),
                tio.RandomGhosting(p=augment.ghosting_probability),
            ]
        )

    def __call__(self, volume_CDHW: Tensor, epoch: int, sample: int) -> Tensor:
        """Return the changed volume, float16 (C, D, H, W)."""
        with torch.random.fork_rng(devices=[]):
            # TorchIO draws from torch's global generator.
            torch.manual_seed(mix(Use.AUGMENTATION, *self._seed, epoch, sample))
            # TorchIO's axes run right, anterior, superior: the stored ones backwards.
            tensor = volume_CDHW.float().permute(0, 3, 2, 1)
            image = tio.ScalarImage(tensor=tensor, affine=self._affine)
            changed = self._transform(image).data.permute(0, 3, 2, 1)
        return changed.to(torch.float16).contiguous()
