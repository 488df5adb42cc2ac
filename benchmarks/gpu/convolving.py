"""Every distinct convolution in every form: error against fp32, and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isnan

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional as F

from gpu.layers import Convolution, convolutions_of
from gpu.record import Report
from gpu.timing import milliseconds
from stfmri.learning.convolutions import cuda

NETWORKS = ("r3d_18", "mc3_18", "r2plus1d_18")
LAYOUT = torch.channels_last_3d
EIGHT = 8
# Rounding to fp16 alone is 2.4e-4 to 5e-4; a wrong kernel is off by a tenth or more.
LIMIT = 5e-3
PLAIN = "3-D"


@dataclass(frozen=True)
class Form:
    """A way to compute one convolution.

    Attributes:
        layer: with its weights; may take more channels than the convolution has.
        channels: that its input has.
    """

    name: str
    layer: nn.Module
    channels: int


@dataclass(frozen=True)
class Outcome:
    """What was measured of a form.

    Attributes:
        errors: relative, of the output, the weight's gradient and the input's.
        ms: forward and backward.
        repeats: whether doing it again gave the same bits.
    """

    errors: tuple[float, ...]
    ms: float
    repeats: bool


def forms_of(convolution: Convolution) -> Iterator[Form]:
    """A convolution in all the forms that it can take, with the same weights.

    Padded: the middle of a (2+1)D layer has channels in multiples of eight. Of eight: so has the
    data that the first convolution takes, the others being zero. Taps: its neighbours are channels.
    """
    torch.manual_seed(0)
    plain = convolution.layer()
    nn.init.kaiming_normal_(plain.weight, mode="fan_in", nonlinearity="linear")
    with torch.no_grad():
        plain.weight.copy_(plain.weight.half())  # so that rounding the weights is no error
    channels = convolution.shape[1]
    yield from _both(PLAIN, "2-D", plain, channels)
    more = 0 if convolution.first else -channels % EIGHT
    padded = cuda.VolumeConvolution(plain)
    padded.extra_inputs, padded.extra_outputs = more, -convolution.outputs % EIGHT
    if padded.extra_inputs or padded.extra_outputs:
        yield from _both("3-D padded", "2-D padded", padded, channels + more)
    if convolution.first:
        more = -channels % EIGHT
        wide = cuda.VolumeConvolution(padded)
        wide.extra_inputs = more
        yield from _both("3-D of eight", "2-D of eight", wide, channels + more)
        yield Form("taps", cuda.TapConvolution(padded), channels)


def _both(volumes: str, pictures: str, layer: nn.Conv3d, channels: int) -> Iterator[Form]:
    """A convolution as it is, and as a 2-D one where that can be."""
    yield Form(volumes, layer, channels)
    formed = cuda.reform(nn.Sequential(layer), cuda.Forms(taps=False, pad=1))[0]
    if formed is not layer:
        yield Form(pictures, formed, channels)


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm; infinite where something is not a number."""
    error = float((ours.float() - theirs).norm() / theirs.norm())
    return inf if isnan(error) else error


def repeats(step: Callable[[], tuple[Tensor, ...]]) -> bool:
    """Whether a step gives the same bits twice."""
    return all(torch.equal(*pair) for pair in zip(step(), step(), strict=True))


class Check:
    """One convolution with its data and what fp32 makes of them."""

    def __init__(self, convolution: Convolution, device: torch.device) -> None:
        self.convolution, self.device = convolution, device
        # A CPU's half precision is not what is checked
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        torch.manual_seed(1)
        x = torch.randn(convolution.shape, device=device).to(self.dtype)
        self.x = x.contiguous(memory_format=LAYOUT)
        self.gradient: Tensor | None = None
        self.exact: tuple[Tensor, ...] = ()

    def outcome(self, form: Form) -> Outcome:
        """Measure a form; the first one that is given also gives the reference."""
        layer = form.layer.to(self.device).to(memory_format=LAYOUT)
        weight = next(layer.parameters())
        extra = form.channels - self.x.shape[1]
        x = F.pad(self.x, (0,) * 6 + (0, extra)).contiguous(memory_format=LAYOUT)
        x.requires_grad_(not self.convolution.first)
        wanted = (weight,) if self.convolution.first else (weight, x)
        if not self.exact:
            self.exact = self._in_fp32(weight)
        assert self.gradient is not None
        more = layer.extra_outputs if isinstance(layer, cuda.SameWeights) else 0
        gradient = F.pad(self.gradient, (0,) * 6 + (0, more)).contiguous(memory_format=LAYOUT)

        def step() -> tuple[Tensor, ...]:
            half = self.dtype != torch.float32
            with torch.autocast(self.device.type, self.dtype, enabled=half):
                y = layer(x)
            return (y.detach(), *torch.autograd.grad(y, wanted, gradient))

        found = step()
        own = (self.convolution.outputs, self.convolution.outputs, self.x.shape[1])
        y, to_weight, *to_x = found
        ours = (y[:, : own[0]], to_weight, *(item[:, : own[2]] for item in to_x))
        errors = tuple(relative(*pair) for pair in zip(ours, self.exact, strict=True))
        return Outcome(errors, milliseconds(step, self.device), repeats(step))

    def _in_fp32(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Output and gradients in fp32, in PyTorch's own layout and form."""
        x = self.x.float().contiguous().requires_grad_(not self.convolution.first)
        w = weight.detach().contiguous().requires_grad_()
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, allow_tf32=False):
            y = F.conv3d(x, w, None, self.convolution.stride, self.convolution.padding)
            gradient = torch.randn(y.shape, device=self.device).to(self.dtype)
            wanted = (w,) if self.convolution.first else (w, x)
            to_weight, *to_x = torch.autograd.grad(y, wanted, gradient.float())
        self.gradient = gradient
        return (y.detach(), to_weight, *to_x)


def check(report: Report, shape: tuple[int, ...]) -> None:
    """Measure every distinct convolution of the networks, and add up a step of each network."""
    measured: dict[Convolution, dict[str, Outcome]] = {}
    for name in NETWORKS:
        counts = convolutions_of(name, shape)
        for convolution in counts:
            if convolution not in measured:
                measured[convolution] = _measure(report, convolution)
        _summarise(report, name, {item: (counts[item], measured[item]) for item in counts})


def _measure(report: Report, convolution: Convolution) -> dict[str, Outcome]:
    check = Check(convolution, report.device)
    outcomes: dict[str, Outcome] = {}
    for form in forms_of(convolution):
        outcomes[form.name] = outcome = check.outcome(form)
        report.note(f"{convolution}, {form.name}, ms", outcome.ms)
        for what, error in zip(("output", "weight", "input"), outcome.errors, strict=False):
            report.note(f"{convolution}, {form.name}, error of the {what}", error)
    times = ", ".join(f"{name} {one.ms:.3f} ms" for name, one in outcomes.items())
    worst = max(max(one.errors) for one in outcomes.values())
    report.say(f"{convolution}: {times}; worst error {worst:.1e}")
    if report.device.type == "cuda":
        torch.cuda.empty_cache()
    return outcomes


def _summarise(
    report: Report, name: str, layers: dict[Convolution, tuple[int, dict[str, Outcome]]]
) -> None:
    outcomes = [outcomes for _, outcomes in layers.values()]
    worst = max(max(one.errors) for forms in outcomes for one in forms.values())
    report.add(f"{name}, worst error of a convolution in fp16", worst, limit=LIMIT)
    changing = sum(not one.repeats for forms in outcomes for one in forms.values())
    report.add(f"{name}, convolutions in some form whose results change when repeated", changing)
    # Where a form does not exist, the next simpler one is used
    for wanted in (
        (PLAIN,),
        ("2-D", PLAIN),
        ("3-D padded", PLAIN),
        ("2-D padded", "2-D", PLAIN),
        ("taps", "2-D padded", "2-D", PLAIN),
    ):
        total = sum(
            count * next(forms[form] for form in wanted if form in forms).ms
            for count, forms in layers.values()
        )
        report.add(f"{name}, convolutions {wanted[0]}, ms a step", total)
    best = sum(count * min(one.ms for one in forms.values()) for count, forms in layers.values())
    report.add(f"{name}, each convolution in its fastest form, ms a step", best)
