"""How far runs are, as the terminal and a pipe show it: a line a run, or a variant of many."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launch import local, status
from launch.local import _Board
from launch.progress import (
    MOST_LINES,
    Epochs,
    Row,
    count_states,
    epochs_of,
    overall_left,
    progress_table,
    row_in_words,
    with_totals,
)
from launch.states import DONE, FAILED, NEW, PENDING, RUNNING, UNCERTAIN
from launch.status import Look, overview
from stfmri.study.compose import compose
from stfmri.study.files import private_dir
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import write_sweep

TOTAL = 10


def run_of(variant: str, fold: int, folder: Path = Path()) -> Run:
    return Run(variant, "r3d_18", "scratch", fold, folder / variant / f"fold{fold}")


def row(state: str, finished: int = 0, *, variant: str = "a", fold: int = 0) -> Row:
    epochs = Epochs(finished, 60.0 * finished, 0.5, None, 60.0) if finished else Epochs()
    return Row(run_of(variant, fold), state, epochs, TOTAL)


def printed(renderable: object, width: int = 80) -> list[str]:
    out = Console(file=io.StringIO(), width=width, highlight=False)
    out.print(renderable)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


MANY = [
    row(state, finished, variant=variant, fold=fold)
    for variant in ("r3d_18-scratch", "mc3_18-scratch", "r2plus1d_18-kinetics")
    for fold, (state, finished) in enumerate(
        [(DONE, 10)] * 20 + [(RUNNING, 5)] * 4 + [(FAILED, 2)] + [(PENDING, 0)] * 10
    )
]


def test_many_runs_are_a_line_a_variant_and_all_of_them_when_asked() -> None:
    assert len(MANY) > MOST_LINES
    folded = printed(progress_table(MANY))
    assert len(folded) == 1 + 3
    assert folded[0].split() == ["variant", "done", "alive", "failed", "epoch", "loss", "left"]
    # The mean epoch is (20 × 10 + 4 × 5 + 2) / 35. Of four at a time each has 5 minutes left; then
    # one takes a run of 8 and two of 10 minutes, two others three of 10.
    assert " ".join(folded[1].split()) == "r3d_18-scratch 20/35 14 1 6.3/10 0.5000 35 min"
    assert max(map(len, folded)) <= 80
    assert len(printed(progress_table(MANY, unfold=True), 120)) == 1 + len(MANY)
    assert len(printed(progress_table(MANY[:MOST_LINES]), 120)) == 1 + MOST_LINES


def test_time_left_is_that_of_epochs_to_come_less_what_the_current_one_has_had() -> None:
    running = row(RUNNING, 4)
    assert running.left_s == 6 * 60
    later = replace(running, epochs=replace(running.epochs, since_s=45.0))
    assert later.left_s == 6 * 60 - 45
    stuck = replace(row(RUNNING, 9), epochs=replace(running.epochs, finished=9, since_s=1e6))
    assert stuck.left_s == 0
    assert row(RUNNING).left_s is None
    assert row(DONE, 10).left_s is None


def test_after_its_last_epoch_a_run_is_testing_and_no_time_is_said_to_be_left() -> None:
    testing = row(RUNNING, TOTAL)
    assert " testing" in printed(progress_table([testing]))[1]
    assert row_in_words(testing).endswith(", testing")
    told = " ".join(printed(overview(Look([testing, row(DONE, TOTAL, fold=1)], [], ""))))
    assert "left" not in told
    assert "left" in " ".join(printed(overview(Look([testing, row(NEW, fold=1)], [], ""))))


def test_the_whole_takes_as_long_as_its_epochs_at_so_many_a_time_and_as_its_longest_run() -> None:
    rows = [row(RUNNING, 5), row(RUNNING, 5), row(NEW), row(NEW), row(DONE, 7)]
    assert overall_left(rows) == ((5 + 5 + 10 + 10) * 60 / 2, 2)
    assert overall_left([row(RUNNING, 1), row(RUNNING, 9)]) == (9 * 60, 2)
    slow = replace(row(RUNNING, 5, variant="b"), epochs=Epochs(5, 3000.0, 0.5, None, 600.0))
    # The next run of the slow variant is as slow.
    assert overall_left([slow, row(NEW, variant="b")]) == (15 * 600, 1)
    assert overall_left([row(NEW), row(RUNNING)]) is None
    assert overall_left([row(DONE, 10)]) is None


def test_runs_of_one_job_start_together_and_the_next_job_when_the_last_of_them_has_ended() -> None:
    first = [replace(row(RUNNING, finished, fold=finished), job="7_0") for finished in (2, 8)]
    then = [replace(row(PENDING, fold=fold), job="7_1") for fold in (3, 4, 5)]
    # 8 minutes until the slower of the two ends, and 10 for the three together.
    assert overall_left([*first, *then]) == (18 * 60, 2)
    # Two such jobs at a time, of two GPUs each, say.
    second = [replace(row(RUNNING, 7, fold=fold), job="7_2") for fold in (6, 9)]
    assert overall_left([*first, *then, *second]) == (13 * 60, 4)


def test_epochs_losses_and_pace_come_from_the_metrics(tmp_path: Path) -> None:
    run = run_of("a", 0, tmp_path)
    path = private_dir(run.folder) / "metrics.csv"
    rows = [f"{epoch},{1 / epoch},{10 * epoch},{2 / epoch}" for epoch in range(1, 8)]
    path.write_text("\n".join(["epoch,train_loss,seconds,val_loss", *rows]) + "\n")
    os.utime(path, (2e9, 2e9))
    # The pace is that of the last five epochs.
    assert epochs_of(run) == Epochs(7, 280.0, 1 / 7, 2 / 7, 50.0, 0.0)


def test_a_run_that_needs_more_epochs_than_were_asked_for_says_so_for_its_variant() -> None:
    first = replace(row(RUNNING, 1), epochs=Epochs(1, 60.0, 0.5, None, 60.0, 0.0, 40))
    rows = with_totals([first, row(NEW, fold=1), row(NEW, variant="b")])
    assert [each.total for each in rows] == [40, 40, TOTAL]
    assert rows[0].left_s == 39 * 60


def test_a_candidates_epochs_are_no_word_on_those_of_the_run_that_chooses() -> None:
    chooses = row(NEW)
    candidate = replace(chooses.run, candidate="learning_rate-0.1")
    inner = replace(row(DONE), run=candidate, epochs=Epochs(60, 60.0, 0.5, total=60))
    assert [each.total for each in with_totals([inner, chooses])] == [60, TOTAL]


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    assert printed(progress_table([row(NEW)]))[0].split() == ["run", "state", "epoch"]
    assert "val loss" not in printed(progress_table([row(RUNNING, 3)]))[0]


def test_of_many_failures_the_first_are_shown_and_the_others_counted() -> None:
    failures = [status.Text(f"run {index} failed") for index in range(25)]
    lines = printed(overview(Look(MANY, failures, "")))
    assert sum("failed" in line and line.startswith("run") for line in lines) == 10
    assert "… and 15 more; --all shows them" in lines
    assert (
        sum("failed" in line for line in printed(overview(Look(MANY, failures, ""), unfold=True)))
        > 25
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    asked = ["sweep.models=[r3d_18]", "split.n=2"]
    config = compose(asked, sweep="demo", root=tmp_path)
    runs = [run_of("a", fold, tmp_path / "runs/demo") for fold in range(2)]
    made = Sweep(config, runs, "demo")
    write_sweep(made)
    return made


def test_watching_through_a_pipe_prints_changes_alone_survives_the_queue_and_ends(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = [
        Look([row(RUNNING, 1), row(NEW, fold=1)], [], "process 7 on here"),
        Look([row(RUNNING, 1), row(NEW, fold=1)], [], "process 7 on here"),
        Look([row(UNCERTAIN, 1), row(NEW, fold=1)], [], ""),  # squeue does not answer
        Look([row(RUNNING, 2), row(NEW, fold=1)], [], "process 7 on here"),
        # Between two runs nothing is alive but the command that starts them.
        Look([row(DONE, 10), row(NEW, fold=1)], [], "process 7 on here"),
        Look([row(DONE, 10), row(DONE, 10, fold=1)], [], "process 7 on here"),
    ]
    pauses: list[float] = []

    monkeypatch.setattr(status, "look_at", lambda sweep: looks.pop(0))
    monkeypatch.setattr(status.time, "sleep", pauses.append)
    arguments = ["--sweep", "demo", "--root", sweep.config.root, "--watch"]
    assert status.main(arguments) == 0
    told = capsys.readouterr().out
    assert told.count("2 runs:") == 5  # one look of six found what was printed
    # All runs once, and then those that have changed.
    assert told.count("a/fold0") == 4
    assert told.count("a/fold1") == 2
    assert "a/fold0: running, epoch 2/10, loss 0.5000, 8 min left\n" in told
    assert "2 runs: 1 uncertain, 1 not submitted" in told
    assert pauses == [5.0] * 5
    assert looks == []


def test_an_interrupt_ends_watching_with_130(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "look_at", lambda sweep: Look([row(RUNNING, 1)], [], ""))
    monkeypatch.setattr(status.time, "sleep", interrupt)
    assert status.main(["--sweep", "demo", "--root", sweep.config.root, "--watch", "2"]) == 130
    assert "interrupted" in capsys.readouterr().err


def metrics(run: Run, *losses: float) -> None:
    rows = [f"{epoch},{loss},30.0" for epoch, loss in enumerate(losses, 1)]
    path = private_dir(run.folder) / "metrics.csv"
    path.write_text("\n".join(["epoch,train_loss,seconds", *rows]) + "\n")


def test_a_local_sweep_in_a_pipe_says_what_starts_ends_and_how_far_each_is(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LINE_S", 0.0)
    out = Console(file=io.StringIO(), width=160)
    board = _Board(out, sweep, sweep.runs)
    board.tell(0, RUNNING)
    metrics(sweep.runs[0], 0.9)
    board._print_lines()
    board._print_lines()  # nothing new
    metrics(sweep.runs[0], 0.9, 0.8)
    board._print_lines()
    board.tell(0, DONE)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.partition(",")[0] for line in lines] == [
        "a/fold0: running; 0 of 2 networks trained",
        "a/fold0: epoch 1/3",
        "a/fold0: epoch 2/3",
        "a/fold0: done; 1 of 2 networks trained",
    ]
    assert "loss 0.9000, 1 min left" in lines[1]


def test_a_local_sweep_in_a_terminal_has_a_line_for_each_live_run(sweep: Sweep) -> None:
    out = Console(file=io.StringIO(), width=80, force_terminal=True)
    board = _Board(out, sweep, sweep.runs)
    board.tell(1, RUNNING)
    metrics(sweep.runs[1], 0.75)
    lines = printed(board._picture())
    assert lines[1].split()[:4] == ["a/fold1", "running", "1/3", "0.7500"]
    assert lines[2].startswith("0 of 2 networks trained, about 2 min left")
    assert len(lines) == 3


def test_states_are_counted_in_one_order() -> None:
    assert count_states([PENDING, DONE, RUNNING, DONE]) == "4 runs: 2 done, 1 running, 1 pending"
    assert count_states([FAILED]) == "1 run: 1 failed"
