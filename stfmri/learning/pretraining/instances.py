"""Self-supervision: each patient is a class, and a changed scan is to be recognised as its own.

Parametric instance classification (Cao et al., 'Parametric instance classification for unsupervised
visual feature learning', NeurIPS 2020; after Dosovitskiy et al., 'Discriminative unsupervised
feature learning with exemplar convolutional neural networks', 2014, whose 3D form is one of the
five tasks of Taleb et al., '3D self-supervised methods for medical imaging', NeurIPS 2020).

Why this and no other:

- Scans are classified here, not segmented. On brain MRI, telling instances apart makes the better
  start for classification and masked reconstruction the better one for segmentation (Wald et al.,
  'An OpenMind for 3D medical vision self-supervised learning', ICCV 2025; Kaczmarek et al.,
  'Building a general SimCLR self-supervised foundation model … 3D brain MRI', ICCV workshops 2025,
  where SimCLR beats masked autoencoders on four tasks). Models Genesis, masked autoencoders and
  SparK also need a decoder for each network, whose work outweighs the encoder's, and SparK
  convolutions that skip what is masked.
- SimCLR, VICReg and Barlow Twins keep features apart by the statistics of a batch, of hundreds of
  images, and degrade with batches of a few (Almpanakis & Kreshuk, 'IConE', 2026, on 2D and 3D
  biomedical images: what works there down to a batch of one is an embedding of each instance of the
  data set, learned along). Here these embeddings are the rows of the last layer, as many as there
  are patients: every step compares a scan with the whole cohort, whatever the batch.
- BYOL and SimSiam need no negatives, but a second network or branch. This needs one view of each
  scan, one forward pass and a cross-entropy: it costs what supervised training costs, and runs on
  the same loop. PIC's remedies for millions of classes are not needed for a cohort of thousands.

What a scan could be recognised by without looking at the brain is changed from one view to the
next: place, size, angle, side; brightness, shading and noise; and a box is blanked out, so that no
single structure decides. Scans of one patient, or almost the same ones, are one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stfmri.learning.data import Batch, Part
from stfmri.learning.seeds import Use, generator

EMBEDDING = 128  # numbers that a scan is recognised by, as in PIC and SimCLR
TEMPERATURE = 0.2  # of the softmax over cosines, as in PIC and MoCo v2
BOX = (0.2, 0.5)  # side of the blanked box, of the volume's


class InstanceHead(nn.Module):
    """Cosines of a scan's embedding with each patient's, over the temperature.

    Args:
        features: F, what the network gives for a scan.
        patients: K, rows of embeddings that are learned along.
    """

    def __init__(self, features: int, patients: int) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, EMBEDDING)
        )
        # Rows of length one. AdamW moves each number by the learning rate, whatever the gradient,
        # so rows of length 11, as randn has them, would hardly turn.
        self.patients = nn.Parameter(F.normalize(torch.randn(patients, EMBEDDING), dim=1))

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return logits (B, K)."""
        # In full precision: a cosine near 1 has few digits left in half of it.
        with torch.autocast(features_BF.device.type, enabled=False):
            scan_BE = F.normalize(self.project(features_BF.float()), dim=1)
            return scan_BE @ F.normalize(self.patients, dim=1).T / TEMPERATURE


class Blanked:
    """A part of the cohort whose volumes each lack a random box.

    Args:
        seed: of the run; what is blanked depends on it, the epoch and the sample alone.
    """

    def __init__(self, part: Part, seed: tuple[int, ...]) -> None:
        self.subject_ids = part.subject_ids
        self._part, self._seed = part, seed

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """Yield the part's batches, changed."""
        for batch in self._part.batches(order, epoch):
            volumes = [
                blanked(volume_CDHW, (*self._seed, epoch, sample))
                for volume_CDHW, sample in zip(batch.volume_BCDHW, batch.samples, strict=True)
            ]
            yield replace(batch, volume_BCDHW=torch.stack(volumes))


def blanked(volume_CDHW: Tensor, seed: tuple[int, ...]) -> Tensor:
    """A copy with 0 in a random box of all channels, of a fifth to half of each side."""
    drawn = generator(Use.BLANK, *seed)
    changed = volume_CDHW.clone()
    box = []
    for length in volume_CDHW.shape[1:]:
        side = max(1, round(drawn.uniform(*BOX) * length))
        start = int(drawn.integers(0, length - side + 1))
        box.append(slice(start, start + side))
    changed[:, box[0], box[1], box[2]] = 0
    return changed
