"""One training step, twice: as a run of ours takes it, and as the usual script does."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from stfmri.learning import device as devices
from stfmri.learning import models
from stfmri.learning.data import Batch
from stfmri.learning.learner import Learner
from stfmri.study.config import Config
from stfmri.study.config.training import AugmentConfig, ModelConfig

MODELS = ("r3d_18", "r2plus1d_18", "mc3_18")
CLASSES = 3
# W_c = 1 - n_c / N of the paper's cohort: 73, 259 and 259 of 591.
WEIGHTS = (1 - 73 / 591, 1 - 259 / 591, 1 - 259 / 591)
# The paper's optimiser; what is measured is the step, without augmentation.
CONFIG = Config(augment=AugmentConfig(kind="none"))
TRAIN = CONFIG.train


def accelerator_for(device: torch.device) -> Accelerator:
    """Accelerate in the precision that `train.precision=auto` gives on this device."""
    precision = devices.resolve_precision("auto", device.type)
    return Accelerator(
        mixed_precision=devices.ACCELERATE_NAMES[precision], cpu=device.type == "cpu"
    )


def let_go(accelerator: Accelerator) -> None:
    """Free what was prepared with this accelerator and is used no more."""
    accelerator.free_memory()
    gc.collect()  # a prepared network stands in a reference cycle
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()


class OurStep:
    """What training does with a batch, from the volume in memory to the new weights."""

    def __init__(self, name: str, accelerator: Accelerator, seed: int = 0) -> None:
        network = models.build(ModelConfig(name=name), CLASSES, seed)
        config = replace(CONFIG, model=ModelConfig(name=name))
        self.learner = Learner(network, config, torch.tensor(WEIGHTS), accelerator, batches=1)
        self.learner.network.train()

    def __call__(self, volume_BCDHW: Tensor, label_B: Tensor) -> Tensor:
        """Take a step; the loss stays on the device."""
        samples = list(range(len(label_B)))
        return self.learner.step(Batch(volume_BCDHW, label_B, samples))


class UsualStep:
    """The plain torchvision network, eager and contiguous, with PyTorch's defaults.

    On a CPU in fp32; on a GPU under fp16 autocast with a GradScaler, as PyTorch's own recipe has
    it. Its loss is ours, and the usual script prints it, which waits for the device at each step.
    """

    def __init__(self, name: str, device: torch.device, seed: int = 0) -> None:
        self.network = models.build(ModelConfig(name=name), CLASSES, seed).to(device)
        self.network.train()
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=TRAIN.learning_rate, weight_decay=TRAIN.weight_decay
        )
        self.half = device.type == "cuda"
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half)
        self.weight_K = torch.tensor(WEIGHTS, device=device)

    def __call__(self, volume_BCDHW: Tensor, label_B: Tensor) -> float:
        """Take a step and fetch its loss."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            logits_BK = self.network(volume_BCDHW.float())
            losses = F.cross_entropy(logits_BK.float(), label_B, reduction="none")
            loss = (self.weight_K[label_B] * losses).mean()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()
