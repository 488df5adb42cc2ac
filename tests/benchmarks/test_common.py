from __future__ import annotations

import common
import pytest
import torch


def test_actions_take_turns_in_reversed_order_and_warm_up_is_left_out() -> None:
    calls: list[str] = []
    actions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = common.alternate(actions, rounds=3, warmup=1)
    assert "".join(calls) == "baabbaab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_the_ratio_is_the_median_of_neighbours_not_the_ratio_of_medians() -> None:
    # The machine slows down tenfold in the middle; both feel it, the ratio does not.
    assert common.paired_ratio([4, 4, 40, 40, 4], [2, 2, 20, 20, 2]) == 2
    with pytest.raises(ValueError):
        common.paired_ratio([1, 2], [1])


def test_only_a_missed_mark_fails_and_only_at_real_size(capsys: pytest.CaptureFixture) -> None:
    met = common.Row("a", "1 s", mark="≥ 4×", met=True)
    missed = common.Row("b", "1 s", mark="≥ 4×", met=False)
    unmarked = common.Row("c", "1 s")
    assert common.publish("t", [met, unmarked], quick=False) == 0
    assert common.publish("t", [met, missed], quick=False) == 1
    assert common.publish("t", [met, missed], quick=True) == 0
    printed = capsys.readouterr().out
    assert printed.count("**not met**") == 1
    assert printed.count("not judged") == 2


def test_every_line_of_the_table_is_equally_long() -> None:
    rows = [common.Row("r3d_18", "1.60 s", "7.30 s", "4.56×", "≥ 4×", True), common.Row("x", "1")]
    lines = common.markdown(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 4
    assert "| met" in lines[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-6, "2 µs"), (0.0125, "12.5 ms"), (1.5, "1.50 s"), (149.2, "149 s")],
)
def test_durations_are_told_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert common.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("version", "judged"), [(90701, True), (90800, False), (91400, False), (91501, True)]
)
def test_versions_of_cudnn_that_the_peer_does_without_are_named(
    version: int, judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    assert bool(common.peer_off_cudnn(torch.device("cuda"))) is not judged
    assert common.peer_off_cudnn(torch.device("cpu")) == ""
