"""Whether stored volumes are still those that index.csv tells of: looked at once a run.

index.csv holds the sha256 of every volume as it was written. A disk, a file server or a copy that
changes bits afterwards says nothing, and a network trains on whatever it is given.
"""

from __future__ import annotations

import threading

from stfmri.study.shards import Volumes


class Verification:
    """Verifies volumes in the background, in a thread that hashes without Python's lock.

    Args:
        volumes: all of them are verified, from now on.
    """

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes.reopened()  # maps are opened on first use, by one thread alone
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._verify, name="verify", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Wait for the last volume; call it before anything is published that depends on them.

        Raises:
            CacheError: naming the shard and the volume that has changed.
        """
        self._thread.join()
        self.require_so_far()

    def require_so_far(self) -> None:
        """As `require`, without waiting."""
        if self._error is not None:
            raise self._error

    def _verify(self) -> None:
        try:
            for subject_id in self._volumes.in_stored_order():
                self._volumes.verify(subject_id)
        except Exception as error:  # raised where the run asks
            self._error = error
