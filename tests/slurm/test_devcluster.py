"""The development cluster itself: starting, stopping, crashing, and life without accounting."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from slurm.devcluster import __main__ as command
from slurm.devcluster import daemons
from slurm.devcluster.cluster import DevCluster
from slurm.errors import ClusterError
from slurm.executor import Resources, submit_array
from slurm.queue import alive
from tests.slurm import calls
from tests.slurm.conftest import lines_of, need_slurm, wait_for, wait_until_ended


def use(cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.slurm
def test_without_accounting_jobs_are_submitted_followed_and_collected(
    cluster_folder: Path, tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_slurm()
    with DevCluster(cluster_folder / "dev", accounting=False, nodes=1) as cluster:
        use(cluster, monkeypatch)
        assert subprocess.run(["sacct"], capture_output=True, check=False).returncode != 0
        logs, files = tmp_path / "logs", [tmp_path / "0.json", tmp_path / "1.json"]
        quick = Resources(time_min=5)
        jobs = submit_array(
            [calls.Report(file) for file in files],
            quick,
            folder=logs,
            name="train",
            workdir=workdir,
        )
        count = calls.Count(tmp_path, "*.json", tmp_path / "count")
        [collector] = submit_array(
            [count], quick, folder=logs, name="collect", workdir=workdir, depends_on=jobs
        )
        assert collector in alive()
        wait_until_ended(*jobs, collector)
        assert (tmp_path / "count").read_text() == "2"


@pytest.mark.slurm
def test_with_accounting_sacct_knows_the_job(
    cluster: DevCluster, tmp_path: Path, workdir: Path
) -> None:
    [job] = submit_array(
        [calls.Report(tmp_path / "report.json")],
        Resources(time_min=5),
        folder=tmp_path,
        name="known",
        workdir=workdir,
    )
    wait_until_ended(job)
    command = ["sacct", "--noheader", "--allocations", "--format=JobID,State", f"--jobs={job}"]

    def told() -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    wait_for(lambda: told() == [str(job), "COMPLETED"])


@pytest.mark.slurm
def test_stop_ends_what_a_crash_left_and_a_new_start_works(
    cluster_folder: Path,
    tmp_path: Path,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    need_slurm()
    folder = cluster_folder / "dev"
    arguments = ["--folder", str(folder), "--no-accounting"]
    cluster = DevCluster(folder, accounting=False)
    cluster.start()
    use(cluster, monkeypatch)
    marks = tmp_path / "marks"
    submit_array(
        [calls.Sleep(marks)], Resources(time_min=5), folder=tmp_path, name="x", workdir=workdir
    )
    wait_for(lambda: lines_of(marks) == ["begin"])
    for pid, name in daemons.of_cluster(folder).items():
        if name in ("slurmctld", "munged"):
            os.kill(pid, signal.SIGKILL)
    assert command.main(["start", *arguments]) == 2
    assert "already runs, or crashed in part" in capsys.readouterr().err
    cluster.stop()
    assert daemons.of_cluster(folder) == {}

    again = DevCluster(folder, accounting=False)
    with again:
        assert command.main(["status", *arguments]) == 0
        assert "n1=idle n2=idle" in capsys.readouterr().out
    assert command.main(["status", *arguments]) == 1


def test_a_folder_with_other_files_is_never_emptied(cluster_folder: Path) -> None:
    need_slurm()
    (cluster_folder / "thesis.tex").touch()
    with pytest.raises(ClusterError, match="holds other files"):
        DevCluster(cluster_folder).start()
    assert (cluster_folder / "thesis.tex").exists()


def test_a_link_is_never_followed_and_emptied(cluster_folder: Path) -> None:
    need_slurm()
    (cluster_folder / "real").mkdir()
    link = cluster_folder / "link"
    link.symlink_to(cluster_folder / "real")
    with pytest.raises(ClusterError, match="is a link or belongs to another user"):
        DevCluster(link).start()


def test_missing_packages_are_named_with_the_command_that_installs_them(
    cluster_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(daemons, "SEARCH_PATH", "/nowhere")
    assert command.main(["start", "--folder", str(cluster_folder)]) == 2
    assert "apt-get install mariadb-server munge slurm-client slurmctld" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "9"], "1 to 4 nodes; found nodes=9"),
        (["--gpus-per-node", "-1"], "found gpus_per_node=-1"),
        (["--max-array-size", "1"], "at least 2; found 1"),
        (["--folder", "/tmp/a b"], "folder must be at most"),
        (["--folder", "/tmp/" + "x" * 90], "folder must be at most"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["start", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_free_ports_differ_and_stay_below_the_range_of_outgoing_connections() -> None:
    ports = daemons.free_ports(8)
    assert len(set(ports)) == 8
    assert all(20000 <= port < 32000 for port in ports)


@pytest.mark.slurm
@pytest.mark.slow
def test_a_killed_controller_and_a_killed_node_come_back_with_their_jobs(
    cluster_folder: Path, tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_slurm()
    with DevCluster(cluster_folder / "dev", accounting=False, nodes=1) as cluster:
        use(cluster, monkeypatch)
        marks = tmp_path / "marks"
        [job] = submit_array(
            [calls.Sleep(marks)],
            Resources(time_min=5),
            folder=tmp_path / "logs",
            name="sleep",
            workdir=workdir,
        )
        wait_for(lambda: lines_of(marks) == ["begin"])
        time.sleep(6)  # the controller saves its state every few seconds
        cluster.kill_controller()
        with pytest.raises(ClusterError):
            alive()
        cluster.restart_controller()
        restarted = time.monotonic()
        assert alive()[job].state == "RUNNING"

        cluster.kill_node("n1")
        left = set(daemons.of_cluster(cluster.layout.folder).values())
        assert not left & {"slurmd", "slurmstepd", "slurm_script"}
        # For twenty seconds SLURM believes in a job that its node does not know
        time.sleep(max(0.0, restarted + 23 - time.monotonic()))
        cluster.start_node("n1")
        wait_for(lambda: alive()[job].reason == "BeginTime")  # queued again
        assert lines_of(marks) == ["begin"]
        subprocess.run(["scancel", str(job)], check=True)
        wait_until_ended(job)
