"""One training step, twice: as a run of ours takes it, and as the usual script does."""

from __future__ import annotations

import gc

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from stfmri.learning import convolutions, models, optimise
from stfmri.learning import device as devices
from stfmri.learning.loss import weighted_loss
from stfmri.study.config import ModelConfig, TrainConfig

MODELS = ("r3d_18", "r2plus1d_18", "mc3_18")
CLASSES = 3
# W_c = 1 - n_c / N of the paper's cohort: 73, 259 and 259 of 591.
WEIGHTS = (1 - 73 / 591, 1 - 259 / 591, 1 - 259 / 591)
TRAIN = TrainConfig()


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
        device = accelerator.device
        network = models.build(ModelConfig(name=name), CLASSES, seed)
        if device.type == "cpu":
            convolutions.reform(network)
        # PyTorch declares no such overload, though it documents it.
        network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        optimizer = optimise.adam(network, TRAIN)
        self.accelerator = accelerator
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.network.train()
        self.weight_K = torch.tensor(WEIGHTS, device=device)

    def __call__(self, volume_BCDHW: Tensor, label_B: Tensor) -> Tensor:
        """Take a step; the loss stays on the device."""
        logits_BK = self.network(devices.to_layout(volume_BCDHW.float()))
        loss = weighted_loss(logits_BK.float(), label_B, self.weight_K)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


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
