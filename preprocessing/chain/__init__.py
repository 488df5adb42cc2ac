"""The chain from one subject's files to one volume of the cache: `read`, then `process`."""

from preprocessing.chain.process import Chain, Processed, Sources, process, read

__all__ = ["Chain", "Processed", "Sources", "process", "read"]
