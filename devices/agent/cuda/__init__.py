"""NVIDIA GPUs: the driver, kernels and libraries that the agent measures with."""
