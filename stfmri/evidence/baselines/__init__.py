"""Baselines: what a score must be compared with before it means anything."""
