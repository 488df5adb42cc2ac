from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torchvision.models import video

from stfmri.learning import models
from stfmri.learning.convolutions import WideNorm, reform
from stfmri.study.config import ModelConfig
from stfmri.study.errors import UserError


@pytest.mark.parametrize(
    ("name", "stem", "count"),
    [
        ("r2plus1d_18", "basic", 31_297_254),
        ("mc3_18", "basic", 11_472_963),
        ("r3d_18", "basic", 33_148_995),
        ("r3d_18", "factorised", 33_150_522),
    ],
)
def test_parameter_counts_are_those_of_table_1(name: str, stem: str, count: int) -> None:
    with torch.device("meta"):
        network = models.build(ModelConfig(name=name, stem=stem), 3, seed=0)
    assert models.parameter_count(network) == count


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (models.build(ModelConfig(), 3, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    other_seed = models.build(ModelConfig(), 3, seed=6)
    assert not torch.equal(first.stem[0].weight, other_seed.stem[0].weight)


@pytest.fixture(scope="module")
def kinetics_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mc3_18 as torchvision would save it: three-channel stem, 400 classes."""
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "mc3_18.pth"
    torch.save(video.mc3_18().state_dict(), file)
    return file


def test_kinetics_weights_replace_everything_but_stem_and_head(kinetics_file: Path) -> None:
    model = ModelConfig(name="mc3_18", weights="kinetics")
    fresh, loaded = models.build(model, 3, seed=0), models.build(model, 3, seed=0)
    models.load_weights(loaded, model, kinetics_file)
    theirs = torch.load(kinetics_file, weights_only=True)
    before = fresh.state_dict()
    for key, value in loaded.state_dict().items():
        expected = before if key.startswith(("stem.", "fc.")) else theirs
        assert torch.equal(value, expected[key]), key


def test_summed_stem_sees_a_grey_film_as_the_rgb_stem_would(kinetics_file: Path) -> None:
    model = ModelConfig(name="mc3_18", weights="kinetics", stem_init="rgb_sum")
    ours = models.build(model, 3, seed=0).eval()
    models.load_weights(ours, model, kinetics_file)
    theirs = video.mc3_18().eval()
    theirs.load_state_dict(torch.load(kinetics_file, weights_only=True))
    grey = torch.rand(1, 1, 4, 16, 16)
    with torch.no_grad():
        difference = ours.stem(grey) - theirs.stem(grey.expand(-1, 3, -1, -1, -1))
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("channels", [2, 4])
def test_summed_stem_sees_equal_films_in_several_channels_as_one(
    kinetics_file: Path, channels: int
) -> None:
    model = ModelConfig(name="mc3_18", weights="kinetics", stem_init="rgb_sum")
    one = models.build(model, 3, seed=0).eval()
    several = models.build(model, 3, seed=0, channels=channels).eval()
    for network in (one, several):
        models.load_weights(network, model, kinetics_file)
    film = torch.rand(1, 1, 4, 16, 16)
    with torch.no_grad():
        difference = several.stem(film.expand(-1, channels, -1, -1, -1)) - one.stem(film)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "stem"),
    [("r3d_18", "basic"), ("r3d_18", "factorised"), ("mc3_18", "basic"), ("r2plus1d_18", "basic")],
)
def test_channels_in_another_order_give_the_same_logits_if_the_stem_has_it_too(
    name: str, stem: str
) -> None:
    model = ModelConfig(name=name, stem=stem)
    network = models.build(model, 3, seed=0, channels=3).double().eval()
    volume = torch.rand(2, 3, 5, 12, 10).double()
    order = [2, 0, 1]
    with torch.no_grad():
        before = network(volume)
        other = network(volume[:, order])
        network.stem[0].weight.copy_(network.stem[0].weight[:, order].clone())
        after = network(volume[:, order])
    assert before.shape == (2, 3)
    assert (after - before).abs().max() < 1e-9
    assert (other - before).abs().max() > 1e-6


def test_a_channel_more_adds_its_kernel_to_the_first_layer_and_nothing_else() -> None:
    one, two = (models.build(ModelConfig(), 3, seed=0, channels=count) for count in (1, 2))
    more = models.parameter_count(two) - models.parameter_count(one)
    assert more == 64 * 3 * 7 * 7
    assert (models.channels_of(one), models.channels_of(two)) == (1, 2)


def test_weights_of_another_network_are_refused_by_name(kinetics_file: Path) -> None:
    model = ModelConfig(name="r3d_18", weights="kinetics")
    network = models.build(model, 3, seed=0)
    with pytest.raises(UserError, match=r"another network than r3d_18.*has the shape"):
        models.load_weights(network, model, kinetics_file)


def test_a_damaged_weights_file_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "broken.pth"
    file.write_bytes(b"not a checkpoint")
    model = ModelConfig(weights="kinetics")
    with pytest.raises(UserError, match=r"cannot read weights from .*broken\.pth"):
        models.load_weights(models.build(model, 3, seed=0), model, file)


def test_slice_axis_becomes_the_first_spatial_axis() -> None:
    volume = torch.arange(2 * 3 * 4).view(1, 1, 2, 3, 4)
    assert models.to_slices_first(volume, "axial").shape == (1, 1, 2, 3, 4)
    assert models.to_slices_first(volume, "coronal").shape == (1, 1, 3, 2, 4)
    sagittal = models.to_slices_first(volume, "sagittal")
    assert sagittal.shape == (1, 1, 4, 2, 3)
    assert torch.equal(sagittal[0, 0, 3], volume[0, 0, :, :, 3])


@pytest.mark.parametrize(
    ("name", "channels"), [("r3d_18", 1), ("mc3_18", 2), ("r2plus1d_18", 1), ("r2plus1d_18", 2)]
)
def test_a_reformed_network_computes_the_same_training_step(name: str, channels: int) -> None:
    """Compared in fp64: in fp32 the last bits of a sum decide which rectifiers open, so that plain
    torchvision's own gradients move by 1e-2 when nothing but the number of threads changes."""
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, channels, 7, 20, 18, generator=generator).double()
    model = ModelConfig(name=name, dropout=0)
    plain = models.build(model, 3, seed=0, channels=channels).double()
    formed = reform(models.build(model, 3, seed=0, channels=channels)).double()
    assert list(plain.state_dict()) == list(formed.state_dict())
    widened = [norm.num_features for norm in formed.modules() if isinstance(norm, WideNorm)]
    assert widened == ([45, 230, 230] if name == "r2plus1d_18" else [])
    outputs = []
    for network, layout in ((plain, torch.contiguous_format), (formed, torch.channels_last_3d)):
        network.to(memory_format=layout)
        outputs.append(network(volume.contiguous(memory_format=layout)))
        outputs[-1].square().sum().backward()
    assert _relative(outputs[1], outputs[0]) < 1e-10
    for (key, ours), (_, theirs) in zip(
        formed.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert _relative(ours.grad, theirs.grad) < 1e-10, key
    for (key, ours), (_, theirs) in zip(formed.named_buffers(), plain.named_buffers(), strict=True):
        assert _relative(ours.double(), theirs.double()) < 1e-10, key
    with torch.inference_mode():
        assert _relative(formed.eval()(volume), plain.eval()(volume)) < 1e-10


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((1, 7, 7), (1, 2, 2), (0, 3, 3)),
        ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ((1, 1, 1), (2, 2, 2), (0, 0, 0)),
        ((1, 1, 1), (1, 2, 2), (0, 0, 0)),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0)),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ],
)
@pytest.mark.parametrize("slices", [1, 2, 9])
def test_each_reformed_convolution_agrees_in_fp32(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    slices: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Conv3d(16, 24, kernel, stride, padding, bias=False)
    formed = reform(torch.nn.Sequential(copy.deepcopy(plain)))
    x = torch.randn(2, 16, slices, 12, 10, generator=generator)
    x_plain = x.clone().requires_grad_()
    x_formed = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    y_plain, y_formed = plain(x_plain), formed(x_formed)
    gradient = torch.randn(y_plain.shape, generator=generator)
    y_plain.backward(gradient)
    y_formed.backward(gradient.contiguous(memory_format=torch.channels_last_3d))
    assert _relative(y_formed, y_plain) < 1e-5
    assert _relative(x_formed.grad, x_plain.grad) < 1e-5
    assert _relative(next(formed.parameters()).grad, plain.weight.grad) < 1e-5


def _relative(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> float:
    assert ours is not None
    assert theirs is not None
    return float(((ours - theirs).norm() / theirs.norm()).detach())
