"""The parts of benchmarks/gpu_check.py, one module each, listed in `gpu.registry`."""
