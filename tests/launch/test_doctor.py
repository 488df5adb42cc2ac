"""The doctor names what is missing, and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from launch import doctor
from launch.doctor_gpus import has_kernels
from launch.finding import Finding
from slurm.errors import ClusterError
from stfmri.study import networks
from stfmri.study.config import Config
from stfmri.study.config.sweep import ClusterConfig


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_slurm", lambda: False)


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_machine_that_can_run_the_tests_has_nothing_in_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for word in ("Python", "packages", "cores, memory", "free space", "weights r3d_18"):
        assert word in told


def test_a_root_that_is_not_there_fails(tmp_path: Path) -> None:
    assert doctor.main(["--root", str(tmp_path / "none")]) == 1


def test_a_root_that_cannot_be_written_fails() -> None:
    findings = by_name(doctor.data_checks(Path("/proc/sys")))
    assert findings["root"].status == "fail"


def test_a_cluster_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def alive() -> None:
        raise ClusterError("the cluster did not answer 'squeue'")

    monkeypatch.setattr(doctor, "has_slurm", lambda: True)
    monkeypatch.setattr(doctor, "alive", alive)
    [finding] = doctor.cluster_checks()
    assert finding.status == "fail"
    assert "cluster=local" in finding.fix


@pytest.mark.parametrize(
    ("kind", "status"), [("auto", "warn"), ("local", "warn"), ("slurm", "fail")]
)
def test_slurms_programs_without_a_cluster_fail_only_where_slurm_is_asked_for(
    kind: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alive() -> None:
        raise ClusterError("squeue: fatal: Could not establish a configuration source")

    monkeypatch.setattr(doctor, "compose", lambda _: Config(cluster=ClusterConfig(kind=kind)))
    monkeypatch.setattr(doctor, "has_slurm", lambda: True)
    monkeypatch.setattr(doctor, "alive", alive)
    [finding] = doctor.cluster_checks()
    assert finding.status == status
    monkeypatch.setattr(doctor, "has_slurm", lambda: False)
    [finding] = doctor.cluster_checks()
    assert finding.status == ("fail" if kind == "slurm" else "ok")


def test_weights_that_are_not_torchvisions_are_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "data/weights/r3d_18-b3b3357e.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn")
    findings = by_name(doctor.data_checks(tmp_path))
    assert "is not torchvision's" in findings["weights r3d_18"].found
    assert findings["weights mc3_18"].found == "not here yet"


def test_weights_that_only_the_user_can_have_are_no_warning(tmp_path: Path) -> None:
    finding = by_name(doctor.data_checks(tmp_path))["weights resnet10"]
    assert finding.status == "ok"
    for part in ("model.weights=medicalnet", f"{tmp_path}/data/weights", "Tencent/MedicalNet"):
        assert part in finding.fix


def test_a_network_whose_library_is_missing_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda library: None)
    findings = by_name(doctor.machine_checks())
    assert findings["network: sfcn"] == Finding("ok", "network: sfcn", "SFCN, ready")
    assert findings["network: resnet50"].found == "ResNet50, not here"
    assert findings["network: resnet50"].fix == "pip install 'stfmri[monai]'"


def test_a_package_below_its_floor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.0.1")
    findings = by_name(doctor._packages())
    assert findings["torch"].status == "fail"
    assert findings["torch"].fix.startswith("pip install 'torch>=")


@pytest.mark.parametrize(
    ("capability", "kernels", "runs"),
    [
        ((7, 0), ["sm_75", "sm_80", "sm_90", "sm_120"], False),  # a V100 and today's wheels
        ((8, 9), ["sm_80", "sm_86", "sm_90"], True),  # an L40: code for the same major will do
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((8, 0), ["compute_90"], False),
        ((8, 0), [], False),
    ],
)
def test_a_gpu_needs_kernels_of_its_own_generation(
    capability: tuple[int, int], kernels: list[str], runs: bool
) -> None:
    assert has_kernels(capability, kernels) == runs
