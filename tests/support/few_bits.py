"""A MODEL of linear layers for the command line."""

from __future__ import annotations

from typing import Any

__all__ = ["mlp"]


def mlp() -> Any:
    """Two linear layers over one row."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers), (torch.randn(1, 64),)
