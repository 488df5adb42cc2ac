"""Names that say nothing: hashes with a secret key, the same whenever the same scan comes again.

Without the key a hash cannot be undone by trying all patient numbers. Deleting `private/key` makes
the names final; converting more scans into the same folder then needs a new folder.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from preprocessing.dicom.headers import Header
from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, write_atomic

PRIVATE = "private"
KEY_BYTES = 32


@dataclass(frozen=True)
class Pseudonyms:
    """Names for one output folder."""

    key: bytes

    def patient(self, header: Header) -> str:
        """`sub-` and 10 digits: in a cohort of 10,000, two patients share them once in 20,000."""
        return f"sub-{self._digest('patient', header.patient)[:10]}"

    def subject(self, header: Header) -> str:
        """One patient on one day; studies of a day are one visit."""
        visit = self._digest("visit", f"{header.patient}\0{header.date or header.study}")
        return f"{self.patient(header)}_ses-{visit[:6]}"

    def series(self, header: Header) -> str:
        """One series; UIDs that a bad anonymisation made the same for all are told apart."""
        # With letters in front: a spreadsheet takes 12345e678901 for a number.
        return f"ser-{self._digest('series', chr(0).join(header.series_key))[:12]}"

    def _digest(self, kind: str, text: str) -> str:
        return hmac.new(self.key, f"{kind}\0{text}".encode(), hashlib.sha256).hexdigest()


def open_pseudonyms(out: Path) -> Pseudonyms:
    """The names of `out`, whose key is made the first time."""
    folder = private_dir(out / PRIVATE)
    folder.chmod(0o700)
    path = folder / "key"
    if not path.exists():
        write_atomic(path, secrets.token_hex(KEY_BYTES) + "\n")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UserError(
            f"{path} must hold {2 * KEY_BYTES} hexadecimal digits; restore it from a backup, or "
            "convert into a new folder"
        )
    return Pseudonyms(key)
