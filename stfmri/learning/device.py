"""What this machine computes on: precision, threads, memory layout, speed of its arithmetic."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from stfmri.study.config.training import FP16_NEEDS_CUDA
from stfmri.study.errors import ConfigError
from stfmri.study.networks import networks

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
ACCELERATE_NAMES = {"fp16": "fp16", "bf16": "bf16", "fp32": "no"}


def resolve_precision(requested: str, device_type: str, network: str = "") -> str:
    """The precision a run really computes in: fp16, bf16 or fp32.

    `auto` is fp16 on CUDA; on a CPU bf16 where the processor multiplies in it, else fp32, and fp32
    for a network whose gradients bf16 turns away (`bf16: false` in its file of conf/model).
    Accelerate would run fp32 without a word where it is asked for fp16 on a CPU, hence the error.

    Args:
        network: `model.name`; empty for any.

    Raises:
        ConfigError: for fp16 on a CPU.
    """
    if device_type == "cuda":
        return "fp16" if requested == "auto" else requested
    if requested == "fp16":
        raise ConfigError(FP16_NEEDS_CUDA)
    if requested != "auto":
        return requested
    if network and not networks()[network].bf16:
        return "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


@functools.cache
def has_matrix_units() -> bool:
    """Whether the processor multiplies bf16 in matrix units (AMX), not in vectors alone."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def set_arithmetic(deterministic: bool) -> None:
    """Say how a GPU may compute in this process.

    Args:
        deterministic: the same sums in every run, rather than the fastest.
    """
    torch.backends.cudnn.benchmark = not deterministic  # a run has few shapes, each met many times
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.allow_tf32 = False  # where a run says fp32 it is not rounded to less
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # A layer that has no such form warns; it is no reason to end the run.
        torch.use_deterministic_algorithms(True, warn_only=True)


def set_threads(requested: int) -> int:
    """Use this many CPU threads; 0 takes what the job was given, else the process's cores."""
    given = requested or int(os.environ.get("SLURM_CPUS_PER_TASK") or 0)
    given = given or int((os.environ.get("OMP_NUM_THREADS") or "0").split(",")[0])
    threads = given or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    return threads


def keep_freed_memory() -> None:
    """Let this process reuse the memory of one step in the next, instead of giving it back.

    glibc maps every large tensor anew and hands it back when it is freed: tens of thousands of
    page faults a training step on a CPU, over a tenth of its time for r2plus1d_18.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc alone has it
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never


def to_layout(volume_BCTHW: Tensor) -> Tensor:
    """Channels last, the order in which both cuDNN's and oneDNN's 3D kernels are fastest."""
    return volume_BCTHW.contiguous(memory_format=torch.channels_last_3d)


def forward_flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one forward pass over (B, C, T, H, W).

    Args:
        network: on the meta device, so that nothing is computed.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def matrix_peak(device: torch.device, precision: str, seconds: float = 0.3) -> float:
    """Measured floating-point operations a second: the device's peak in dense arithmetic.

    The better of a square matrix product and of a 3×3 convolution: on a CPU the libraries behind
    them differ, and either may be the faster.

    Args:
        seconds: spent on each.
    """
    size, side = (8192, 128) if device.type == "cuda" else (1536, 30)
    dtype, channels, pictures = DTYPES[precision], 256, 16

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    def last(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=torch.channels_last)

    left, right = random(size, size), random(size, size)
    images = last(random(pictures, channels, side, side))
    kernel = last(random(channels, channels, 3, 3))
    with torch.inference_mode():
        product = _least_seconds(lambda: left @ right, device, seconds)
        convolution = _least_seconds(lambda: F.conv2d(images, kernel, padding=1), device, seconds)
    work = 2 * pictures * side**2 * channels**2 * 9
    return max(2 * size**3 / product, work / convolution)


def _least_seconds(run: Callable[[], Tensor], device: torch.device, seconds: float) -> float:
    """The shortest time that `run` took within about so many seconds."""
    run()  # the first may search for the fastest algorithm
    best, spent = float("inf"), 0.0
    while spent < seconds:
        _synchronise(device)
        started = time.perf_counter()
        run()
        _synchronise(device)
        took = time.perf_counter() - started
        spent += took
        best = min(best, took)
    return best


def forget_peak_memory(device: torch.device) -> None:
    """Count the peak of a GPU's memory anew. A CPU's cannot be.

    While cuDNN searches for its fastest algorithms it takes as much as is free, which says nothing
    of what training needs.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device, captured: bool = False) -> int:
    """Bytes of device memory at the peak since it was forgotten; for a CPU, of this process.

    Args:
        captured: whether steps are CUDA graphs, whose memory is reserved once, not allocated anew.
    """
    if device.type == "cuda" and captured:
        return torch.cuda.max_memory_reserved(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
