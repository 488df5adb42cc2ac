"""Every network of the registry: its size, its seed, its channels, its grids, whether it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stfmri.learning import models
from stfmri.learning.models.pooling import Halving
from stfmri.learning.models.resnet import PaddedShortcut
from stfmri.study import networks as known
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from tests.conftest import need_library

EVERY = pytest.mark.parametrize("name", models.NETWORKS)
# (T, H, W) of the tight field, 160 × 192 × 156 mm
GRIDS = {"8 mm": (20, 24, 20), "4 mm": (39, 48, 40), "2 mm": (78, 96, 80)}


def build(name: str, classes: int = 3, channels: int = 1, **settings: object) -> nn.Module:
    need_library(name)
    return models.build(ModelConfig(name=name, **settings), classes, 0, channels)


def test_the_networks_are_those_that_conf_describes_with_the_same_weights() -> None:
    assert set(models.NETWORKS) == set(known.networks())
    for name, network in models.NETWORKS.items():
        assert network.name == name
        assert tuple(network.ready) == known.networks()[name].weights


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


def test_sfcn_has_the_parameters_of_its_authors_code() -> None:
    """Of `SFCN()` in dp_model/model_files/sfcn.py of ha-ha-ha-han/UKBiobank_deep_pretrain, counted
    with 40 bins of age; given its weights, ours returned the same on 160 × 192 × 160 voxels."""
    with torch.device("meta"):
        assert models.parameter_count(build("sfcn", classes=40)) == 2_952_936


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet10", 14.36), ("resnet18", 32.99), ("resnet50", 46.21)]
)
def test_resnets_have_the_parameters_that_medicalnet_prints(name: str, millions: float) -> None:
    """In the table 'Computational Cost' of MedicalNet's README; of resnet50 0.1 % more than its
    layers have."""
    with torch.device("meta"):
        count = models.parameter_count(build(name))
    assert count / 1e6 == pytest.approx(millions, rel=1.5e-3)


def test_densenet_has_the_parameters_that_its_paper_describes() -> None:
    """Table 1 of Huang et al. 2017 with growth 32 and kernels of one axis more."""
    width, total = 64, 7**3 * 64 + 2 * 64
    for layers in (6, 12, 24, 16):
        for _ in range(layers):  # norm, 1×1×1 to 128 channels, norm, 3×3×3 to 32
            total += 2 * width + width * 128 + 2 * 128 + 3**3 * 128 * 32
            width += 32
        if layers != 16:  # norm, 1×1×1 to half the channels
            total += 2 * width + width * width // 2
            width //= 2
    total += 2 * width + width * 3 + 3  # norm and linear layer
    with torch.device("meta"):
        assert models.parameter_count(build("densenet121")) == total == 11_245_699


@EVERY
def test_the_same_seed_gives_the_same_network_and_leaves_the_global_generator_alone(
    name: str,
) -> None:
    need_library(name)
    model = ModelConfig(name=name)
    before = torch.get_rng_state()
    first, second, other = (models.build(model, 3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    for one, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize("grid", GRIDS)
@EVERY
def test_volumes_of_every_grid_become_logits(name: str, grid: str) -> None:
    with torch.device("meta"):
        network = build(name, classes=4, channels=2)
        for volumes in (1, 3):
            assert network(torch.empty(volumes, 2, *GRIDS[grid])).shape == (volumes, 4)


@EVERY
def test_a_step_lowers_the_loss_and_every_weight_has_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, dropout=0)
    volumes, labels = torch.rand(2, 1, *GRIDS["8 mm"]), torch.tensor([0, 2])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def loss() -> Tensor:
        return F.cross_entropy(network(volumes), labels)

    before = loss()
    before.backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key
    optimiser.step()
    assert loss() < before


@EVERY
def test_a_single_volume_of_the_coarsest_grid_can_be_trained_on(name: str) -> None:
    """Batch norm refuses a volume that the layers before it have made one voxel."""
    network = build(name).train()
    assert torch.isfinite(network(torch.rand(1, 1, *GRIDS["8 mm"]))).all()


@EVERY
def test_dropout_comes_before_the_linear_head_and_nowhere_else(name: str) -> None:
    network = build(name, dropout=0.4)
    dropouts = [key for key, module in network.named_modules() if isinstance(module, nn.Dropout)]
    head = models.head_of(ModelConfig(name=name))
    assert dropouts == [f"{head}.0"]
    assert network.get_submodule(f"{head}.0").p == 0.4
    assert network.get_submodule(f"{head}.1").out_features == 3


CASES = [*((name, "basic") for name in models.NETWORKS), ("r3d_18", "factorised")]


@pytest.mark.parametrize(("name", "stem"), CASES)
def test_channels_in_another_order_give_the_same_logits_if_the_stem_has_it_too(
    name: str, stem: str
) -> None:
    network = build(name, channels=3, stem=stem).double().eval()
    first = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
    volume = torch.rand(2, 3, 8, 12, 10).double()
    order = [2, 0, 1]
    with torch.no_grad():
        before = network(volume)
        other = network(volume[:, order])
        first.weight.copy_(first.weight[:, order].clone())
        after = network(volume[:, order])
    assert before.shape == (2, 3)
    assert (after - before).norm() < 1e-9 * before.norm()
    assert (other - before).norm() > 1e-6 * before.norm()


@EVERY
def test_a_channel_more_adds_its_kernel_to_the_first_layer_and_nothing_else(name: str) -> None:
    with torch.device("meta"):
        one, two = (build(name, channels=count) for count in (1, 2))
    first = next(module for module in one.modules() if isinstance(module, nn.Conv3d))
    more = models.parameter_count(two) - models.parameter_count(one)
    assert more == first.weight.numel()
    assert (models.channels_of(one), models.channels_of(two)) == (1, 2)
    stem = models.NETWORKS[name].stem
    assert first in list(one.get_submodule(stem).modules())


def test_a_network_without_its_library_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "find_spec", lambda library: None)
    with pytest.raises(UserError, match=r"densenet121 needs .* pip install 'stfmri\[monai\]'$"):
        models.build(ModelConfig(name="densenet121"), 3, seed=0)


def test_densenet_is_monais_where_every_axis_can_be_halved() -> None:
    ours = build("densenet121").eval()
    from monai.networks.nets.densenet import DenseNet121

    theirs = DenseNet121(3, 1, 3).eval()
    theirs.load_state_dict(
        {key.replace(".out.1.", ".out."): value for key, value in ours.state_dict().items()}
    )
    volume = torch.rand(1, 1, 64, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(volume), theirs(volume))


def test_resnet18_is_monais_but_for_the_gradient_of_its_shortcuts() -> None:
    ours = build("resnet18").eval()
    from monai.networks.nets import resnet

    theirs = resnet.resnet18(n_input_channels=1, num_classes=3, shortcut_type="A").eval()
    theirs.load_state_dict(
        {key.replace("fc.1.", "fc."): value for key, value in ours.state_dict().items()}
    )
    volume = torch.rand(1, 1, 20, 24, 20)
    with torch.no_grad():
        assert torch.equal(ours(volume), theirs(volume))


def test_a_shortcut_without_weights_hands_every_second_voxel_and_its_gradient_on() -> None:
    x = torch.rand(2, 3, 5, 4, 6, requires_grad=True)
    y = PaddedShortcut(2, 2)(x)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2, ::2])
    assert not y[:, 3:].any()
    y.sum().backward()
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2, ::2] = 1
    assert torch.equal(x.grad, expected)


def test_halving_keeps_the_last_voxel_of_an_odd_axis_and_an_axis_of_two() -> None:
    x = torch.arange(2.0 * 5 * 4).view(1, 1, 2, 5, 4)
    mean = Halving(F.avg_pool3d)(x)
    assert mean.shape == (1, 1, 2, 3, 2)
    assert torch.equal(mean[0, 0, :, :2], F.avg_pool2d(x[0], 2)[0])
    assert mean[0, 0, 1, 2, 1] == x[0, 0, 1, 4, 2:].mean()
    assert torch.equal(Halving(F.max_pool3d)(x)[0, 0, :, :2], F.max_pool2d(x[0], 2)[0])
    even = torch.rand(1, 2, 8, 16, 4)
    assert torch.equal(Halving(F.max_pool3d)(even), F.max_pool3d(even, 2))


def test_slice_axis_becomes_the_first_spatial_axis() -> None:
    volume = torch.arange(2 * 3 * 4).view(1, 1, 2, 3, 4)
    assert models.to_slices_first(volume, "axial").shape == (1, 1, 2, 3, 4)
    assert models.to_slices_first(volume, "coronal").shape == (1, 1, 3, 2, 4)
    sagittal = models.to_slices_first(volume, "sagittal")
    assert sagittal.shape == (1, 1, 4, 2, 3)
    assert torch.equal(sagittal[0, 0, 3], volume[0, 0, :, :, 3])
