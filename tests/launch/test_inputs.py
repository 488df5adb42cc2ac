"""What a sweep needs before it may start, for every layout of a cohort."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.inputs import preprocessing_command
from preprocessing.cohorts import LAYOUTS
from stfmri.study.compose import compose
from stfmri.study.errors import ConfigError


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_the_command_that_builds_a_cohort_names_what_is_not_given(layout) -> None:
    lacking = [
        key
        for key in layout.keys
        if getattr(compose([f"data={layout.name}"]).data, key.name) is None
    ]
    words = [f"data={layout.name}", *(f"data.{key.name}={key.value}" for key in lacking)]
    command = preprocessing_command(compose([f"data={layout.name}"]))
    assert command == " ".join(["python", "-m", "preprocessing", *words])


def test_the_command_keeps_what_was_given(tmp_path: Path) -> None:
    given = ["data=bids", f"data.folder={tmp_path}", "data.contrasts=[t1,flair]"]
    command = preprocessing_command(compose(given))
    assert command == f"python -m preprocessing data=bids 'data.contrasts=[t1,flair]' {given[1]}"
    with pytest.raises(ConfigError, match=r"data.kind must be one of .* did you mean bids"):
        preprocessing_command(compose(["data.kind=bidds"]))
