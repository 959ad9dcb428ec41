"""Names of the networks."""

from __future__ import annotations

__all__ = ["MODELS"]

MODELS = (
    "densenet", "googlenet", "lstm", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "resnet18", "resnet50", "shufflenet_v2", "squeezenet", "unet", "vit",
)  # fmt: skip
