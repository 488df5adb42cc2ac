"""The cluster: submit any picklable callables, see what is alive, run a real SLURM for tests.

Knows nothing of scans, networks or sweeps, and imports no other room.
"""
