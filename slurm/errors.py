"""What goes wrong between this machine and the cluster, in one clear line each."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster refused, did not answer, or is not there."""
