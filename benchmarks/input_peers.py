"""The peers of benchmarks/input.py, configured as their documentation recommends."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

SCALE, DEGREES, FLIP = (0.9, 1.2), 10, 0.25  # the paper's light augmentation
Pass = Callable[[], object]


def authors_way(scans: Sequence[Path], device: torch.device) -> Pass:
    """The authors' released script: everything at 1 mm, in the training process, then halved.

    `RescaleIntensity((0.05, 99.5))` and nearest-neighbour interpolation are theirs.
    """
    import torchio as tio

    transform = tio.Compose(
        [
            tio.RescaleIntensity((0.05, 99.5)),
            tio.RandomFlip(axes=0, flip_probability=FLIP),
            tio.RandomAffine(
                scales=SCALE, degrees=DEGREES, isotropic=True, image_interpolation="nearest"
            ),
        ]
    )

    def one_pass() -> None:
        for scan in scans:
            subject = transform(tio.Subject(t1=tio.ScalarImage(scan)))
            small = nn.functional.interpolate(subject.t1.data[None].float(), scale_factor=0.5)
            small.to(device)

    return one_pass


def torchio_loader(scans: Sequence[Path], workers: int, device: torch.device) -> Pass:
    """TorchIO on 2 mm volumes: a SubjectsDataset read by the loader's workers."""
    import torchio as tio

    subjects = [tio.Subject(t1=tio.ScalarImage(scan)) for scan in scans]
    transform = tio.Compose(
        [
            tio.RandomAffine(scales=SCALE, degrees=DEGREES),
            tio.RandomFlip(axes=0, flip_probability=FLIP),
        ]
    )
    dataset = tio.SubjectsDataset(subjects, transform=transform)
    loader = tio.SubjectsLoader(
        dataset,
        batch_size=1,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    return _pass_over(loader, lambda batch: batch["t1"]["data"], device)


def monai_loaders(
    scans: Sequence[Path], workers: int, folder: Path, device: torch.device
) -> dict[str, Pass]:
    """MONAI's PersistentDataset and CacheDataset over 2 mm volumes.

    On a GPU the cached volumes lie there and are augmented there, without workers, as MONAI's fast
    training guide has it.
    """
    with warnings.catch_warnings():  # of its own imports
        warnings.simplefilter("ignore")
        from monai.data import CacheDataset, DataLoader, PersistentDataset, ThreadDataLoader

    data = [{"image": str(scan)} for scan in scans]
    on_gpu = device.type == "cuda"
    by_workers = {
        "batch_size": 1,
        "shuffle": True,
        "num_workers": workers,
        "persistent_workers": workers > 0,
    }
    # Its files are loaded anew each time, by workers, which should not touch the GPU.
    persistent = PersistentDataset(data, _monai_chain(None), cache_dir=folder)
    cached = CacheDataset(
        data, _monai_chain(device if on_gpu else None), num_workers=workers, progress=False
    )
    held = (
        ThreadDataLoader(cached, batch_size=1, shuffle=True, num_workers=0)
        if on_gpu
        else DataLoader(cached, **by_workers)
    )
    read = DataLoader(persistent, pin_memory=on_gpu, **by_workers)
    return {
        "MONAI PersistentDataset": _pass_over(read, lambda batch: batch["image"], device),
        "MONAI CacheDataset": _pass_over(held, lambda batch: batch["image"], device),
    }


def _monai_chain(device: torch.device | None) -> Any:
    """Loading, which both datasets keep the result of, then the random part."""
    from monai import transforms as mt

    angle = math.radians(DEGREES)
    return mt.Compose(
        [
            mt.LoadImaged(keys="image"),
            mt.EnsureChannelFirstd(keys="image"),
            mt.EnsureTyped(keys="image", device=device, track_meta=False),
            mt.RandAffined(
                keys="image",
                prob=1.0,
                rotate_range=[(-angle, angle)] * 3,
                scale_range=[(SCALE[0] - 1, SCALE[1] - 1)] * 3,
                padding_mode="zeros",
                device=device,
            ),
            mt.RandFlipd(keys="image", prob=FLIP, spatial_axis=0),
        ]
    )


def _pass_over(
    loader: Iterable[Any], take: Callable[[Any], torch.Tensor], device: torch.device
) -> Pass:
    def one_pass() -> None:
        for batch in loader:
            take(batch).float().to(device, non_blocking=True)

    return one_pass
