"""Kinetics weights: fetched once, checked, and found again without network.

Compute nodes often have no internet, so this runs where sweeps are submitted. Nothing here needs
torch.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from stfmri.config import ModelConfig
from stfmri.errors import UserError
from stfmri.files import replacing

SOURCE = "https://download.pytorch.org/models/"  # torchvision's own
TIMEOUT_S = 30.0


class WeightsError(UserError):
    """Pre-trained weights that are missing, cannot be fetched, or are another file's."""


def place(model: ModelConfig, root: Path) -> Path:
    """Where the weights lie, or will."""
    if model.weights_file is not None:
        return Path(model.weights_file)
    return root / "data" / "weights" / model.weights_name


def ensure(model: ModelConfig, root: Path) -> tuple[Path, str]:
    """Find the model's Kinetics weights, fetching them at the first time.

    Args:
        model: its `weights_file`, where given, is taken as it is and must exist.
        root: weights are kept in `<root>/data/weights`.

    Returns:
        The file, and its whole sha256.

    Raises:
        WeightsError: where the file is missing and cannot be fetched, or its hash is another.
    """
    path = place(model, root)
    if not path.is_file():
        if model.weights_file is not None:
            raise WeightsError(f"no weights at {path}, which model.weights_file names")
        _fetch(SOURCE + model.weights_name, path, model.weights_hash)
    digest = sha256_of(path)
    if not digest.startswith(model.weights_hash):
        own = model.weights_file is not None
        remedy = (
            f"to use a file of your own on purpose, add model.weights_hash={digest[:8]}"
            if own
            else "delete it, and it is fetched again"
        )
        raise WeightsError(
            f"{path} is not torchvision's {model.weights_name}: its sha256 starts with "
            f"{digest[:8]}, expected {model.weights_hash}; {remedy}"
        )
    return path, digest


def sha256_of(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
