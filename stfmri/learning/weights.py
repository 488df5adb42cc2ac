"""Ready-made weights: the user's own file, or torchvision's, fetched once and found again.

Compute nodes often have no internet, so this runs where sweeps are submitted. Nothing here needs
torch: whether a file's keys and shapes fit a network is for `stfmri.learning.models` to say.
"""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path

from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from stfmri.study.files import replacing, safe_name, sha256_of
from stfmri.study.ready_weights import READY_WEIGHTS

TIMEOUT_S = 30.0
SHA256_DIGITS = 64


class WeightsError(UserError):
    """Pre-trained weights that are missing, cannot be fetched, or are another network's."""


def place(model: ModelConfig, root: Path) -> Path:
    """Where the weights lie, or will: `model.weights_file` may be a file, or a folder of them."""
    own = None if model.weights_file is None else Path(model.weights_file)
    if own is not None and not own.is_dir():
        return own
    folder = root / "data" / "weights" if own is None else own
    return folder / safe_name(model.weights_name, "model.weights_name")


def ensure(model: ModelConfig, root: Path) -> tuple[Path, str]:
    """Find the model's weights, fetching torchvision's where there are none.

    A file that is there is taken as it is, whoever made it. Only a whole sha256, as a submission
    freezes it, must be met; the few digits of conf/model are those of what is fetched.

    Args:
        root: weights are kept in `<root>/data/weights` unless `model.weights_file` names others.

    Returns:
        The file, and its whole sha256.

    Raises:
        WeightsError: where there is no file and none can be fetched, or it is no longer the one
            that was submitted.
    """
    path, ready = place(model, root), READY_WEIGHTS[model.weights]
    if not path.is_file():
        file = ready.file.format(network=model.name)
        if model.weights_file is not None:
            raise WeightsError(
                f"no weights at {path}, where model.weights_file={model.weights_file} has them: "
                f"put {file} there"
            )
        if not ready.address:
            raise WeightsError(
                f"no weights at {path}: put {file} there, or name your copy with "
                f"model.weights_file=…; it is not fetched, see {ready.place}"
            )
        _fetch(ready.address + model.weights_name, path, model.weights_hash)
    digest = sha256_of(path)
    if len(model.weights_hash) == SHA256_DIGITS and digest != model.weights_hash:
        raise WeightsError(
            f"{path} has changed since the run was submitted: its sha256 was "
            f"{model.weights_hash[:8]}…, now {digest[:8]}…; put the former file back, or submit "
            "another sweep with --name"
        )
    return path, digest


def is_torchvisions(model: ModelConfig, sha256: str) -> bool:
    """Whether a file with this hash is torchvision's own, by the digits in its name."""
    return bool(model.weights_hash) and sha256.startswith(model.weights_hash)


def _fetch(url: str, path: Path, expected: str) -> None:
    """Download to a temporary file; keep it only if its hash is the expected one."""
    try:
        with (
            replacing(path) as temporary,
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,
        ):
            with temporary.open("wb") as file:
                shutil.copyfileobj(answer, file)
            digest = sha256_of(temporary)
            if not digest.startswith(expected):
                raise WeightsError(
                    f"{url} sent another file than torchvision's: its sha256 starts with "
                    f"{digest[:8]}, expected {expected}; is a proxy in between?"
                )
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"cannot fetch {url} ({reason}); on a machine with internet download that file and "
            f"put it at {path}, or name your copy with model.weights_file=…; "
            "sweep.weights=[scratch] needs none"
        ) from error
