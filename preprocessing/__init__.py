"""NIfTI scans to HDF5 shards, on this machine: `python -m preprocessing`."""
