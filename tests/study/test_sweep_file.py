"""A sweep is read as it was submitted, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.study.compose import compose
from stfmri.study.errors import UserError
from stfmri.study.serialise import to_dict
from stfmri.study.sweep_file import load_sweep, write_sweep
from tests.study.composed import make_sweep


def test_a_sweep_from_before_there_were_seeds_is_read(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    write_sweep(sweep)
    file = sweep.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("    seeds: []\n", ""))
    assert "seeds" not in file.read_text()
    assert load_sweep(sweep.folder) == sweep


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "data.brats=/größe (1)", "sweep.axes={augment:[light,heavy]}")
    write_sweep(sweep)
    assert load_sweep(sweep.folder) == sweep


def test_a_root_can_be_moved_with_its_sweeps(tmp_path: Path) -> None:
    write_sweep(make_sweep(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = load_sweep(tmp_path / "b" / "runs" / "full")
    assert moved.runs[0].folder == tmp_path / "b/runs/full/r3d_18-scratch/fold0"
    assert moved.cache.parent == tmp_path / "b/data/cache"


def test_a_sweep_of_an_earlier_version_is_refused_with_its_own_code(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    write_sweep(sweep)
    file = sweep.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("antialias: true", ""))
    with pytest.raises(UserError, match=r"earlier version.*does not say preprocessing.antialias"):
        load_sweep(sweep.folder)


def test_a_sweep_whose_folder_was_renamed_is_called_as_the_folder(tmp_path: Path) -> None:
    write_sweep(make_sweep(tmp_path))
    (tmp_path / "runs/full").rename(tmp_path / "runs/older")
    renamed = load_sweep(tmp_path / "runs/older")
    assert renamed.name == "older"
    assert renamed.runs[0].folder == tmp_path / "runs/older/r3d_18-scratch/fold0"


def test_runs_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/runs").symlink_to(tmp_path / "scratch")
    write_sweep(make_sweep(tmp_path / "root"))
    sweep = load_sweep(tmp_path / "root/runs/full")
    assert sweep.cache.parent == tmp_path / "root/data/cache"


def test_a_run_that_would_leave_its_sweep_is_refused(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    write_sweep(sweep)
    file = sweep.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("run: r3d_18-scratch/", "run: ../../x/"))
    with pytest.raises(UserError, match="variant's name"):
        load_sweep(sweep.folder)


@pytest.mark.parametrize("loss", ["fold", "variant", "all", "twice"])
def test_a_sweep_file_that_lost_runs_is_refused(tmp_path: Path, loss: str) -> None:
    sweep = make_sweep(tmp_path)
    kept = {
        "fold": [run for run in sweep.runs if run.fold != 1],
        "variant": [run for run in sweep.runs if run.variant != sweep.runs[-1].variant],
        "all": [],
        "twice": [*sweep.runs[:-1], sweep.runs[0]],
    }
    write_sweep(replace(sweep, runs=kept[loss]))
    with pytest.raises(UserError, match=r"sweep\.yaml is damaged .*lists \d+ runs") as caught:
        load_sweep(sweep.folder)
    assert "\n" not in str(caught.value)


def test_a_missing_sweep_names_those_there_are(tmp_path: Path) -> None:
    write_sweep(make_sweep(tmp_path))
    with pytest.raises(UserError, match="there are: full"):
        load_sweep(tmp_path / "runs" / "ful")


def test_a_damaged_sweep_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    for text in ("config: 3", "a: [", "- x", "", f"config: {to_dict(compose([]))}"):
        (folder / "sweep.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"sweep\.yaml"):
            load_sweep(folder)


def test_a_sweep_that_is_not_there_is_told_with_the_one_meant_or_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(UserError, match=f"submit.py --sweep mime --root {tmp_path}$"):
        load_sweep(tmp_path / "runs" / "mime")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--root DIR looks in another folder.*--sweep mime$"):
        load_sweep(tmp_path / "runs" / "mime")
    sweep = make_sweep(tmp_path)
    write_sweep(sweep)
    with pytest.raises(UserError, match=f"did you mean {sweep.name}[?]$"):
        load_sweep(sweep.folder.with_name(f"{sweep.name}s"))
