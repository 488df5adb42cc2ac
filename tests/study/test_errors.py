"""How an entry point ends: one line on stderr, and a status that a script can tell apart."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from stfmri.study.errors import (
    ConfigError,
    LeakageError,
    RunHeldError,
    TrainingError,
    UserError,
    exit_on_error,
    resumable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("no folder"), 2),
        (ConfigError("no key"), 2),
        (LeakageError("a and b"), 2),
        (RunHeldError("held"), 1),
        (TrainingError("nan"), 1),
        (OSError(28, "No space left on device"), 1),
        (OSError(28, "Can't write\n(time = today\n)"), 1),
        (PermissionError(13, "Permission denied", "/somebody/elses"), 1),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_on_error
    def main() -> int:
        raise error

    assert main() == status
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_what_the_machine_refused_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_on_error
    def main() -> int:
        return len((tmp_path / "none" / "x").read_text())

    assert main() == 1
    assert str(tmp_path / "none" / "x") in capsys.readouterr().err


def test_a_mistake_of_the_program_keeps_its_traceback() -> None:
    @exit_on_error
    def main() -> int:
        return 1 // 0

    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("goes_on", [True, False])
def test_only_a_command_that_goes_on_says_so_when_it_is_interrupted(
    goes_on: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    assert exit_on_error(resumable(main) if goes_on else main)() == 130
    said = "interrupted; the same command goes on from what is saved"
    assert capsys.readouterr().err == f"{said if goes_on else 'interrupted'}\n"


def test_term_ends_a_command_as_an_interrupt_does_and_another_handler_stays() -> None:
    tidied: list[str] = []

    @exit_on_error
    def main() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            tidied.append("up")
        return 0

    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert main() == 130
    assert tidied == ["up"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, lambda *_: tidied.append("own"))
    try:
        exit_on_error(lambda: os.kill(os.getpid(), signal.SIGTERM) or 0)()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert tidied == ["up", "own"]
