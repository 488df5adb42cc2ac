"""Ready-made weights into networks: Kinetics' into torchvision's, MedicalNet's into the ResNets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import video

from stfmri.learning import models
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from tests.conftest import need_library


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


RESNETS = pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])


def medicalnet_file(name: str, folder: Path) -> Path:
    """Weights as MedicalNet saves them: of several GPUs, beside the epoch, without a head."""
    need_library(name)
    from monai.networks.nets import resnet

    depth = int(name.removeprefix("resnet"))
    bias, shortcut = resnet.get_medicalnet_pretrained_resnet_args(depth)
    torch.manual_seed(1)
    network = getattr(resnet, name)(
        n_input_channels=1, feed_forward=False, shortcut_type=shortcut, bias_downsample=bias
    )
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    file = folder / f"{name}.pth"
    torch.save({"epoch": 30, "state_dict": state}, file)
    return file


@RESNETS
def test_medicalnet_weights_replace_everything_but_the_head(name: str, tmp_path: Path) -> None:
    file = medicalnet_file(name, tmp_path)
    model = ModelConfig(name=name, weights="medicalnet")
    fresh, loaded = (models.build(model, 3, seed=0) for _ in range(2))
    models.load_weights(loaded, model, file)
    theirs = torch.load(file, weights_only=True)["state_dict"]
    before, after = fresh.state_dict(), loaded.state_dict()
    assert {f"module.{key}" for key in after if not key.startswith("fc.")} == set(theirs)
    for key, value in after.items():
        expected = before[key] if key.startswith("fc.") else theirs[f"module.{key}"]
        assert torch.equal(value, expected), key


def test_medicalnets_first_layer_sees_equal_scans_in_several_channels_as_one(
    tmp_path: Path,
) -> None:
    file = medicalnet_file("resnet10", tmp_path)
    model = ModelConfig(name="resnet10", weights="medicalnet")
    one, three = (models.build(model, 3, seed=0, channels=count) for count in (1, 3))
    for network in (one, three):
        models.load_weights(network, model, file)
    scan = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        difference = three.conv1(scan.expand(-1, 3, -1, -1, -1)) - one.conv1(scan)
    assert difference.abs().max() < 1e-5


def test_medicalnets_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    file = medicalnet_file("resnet10", tmp_path)
    model = ModelConfig(name="resnet50", weights="medicalnet")
    with pytest.raises(UserError, match=r"another network than resnet50: it lacks"):
        models.load_weights(models.build(model, 3, seed=0), model, file)
