"""A real SLURM on one machine, for trying and for tests."""
