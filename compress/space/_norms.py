"""Batch norms that an exporter folds into the convolution before them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

__all__ = ["folded_norms"]


def folded_norms(model: nn.Module) -> Mapping[str, str]:
    """{batch norm: convolution}, both as paths.

    Taken for one is a batch norm that is the next module with parameters after a convolution of as
    many channels, in the order in which the model holds them.
    """
    found: dict[str, str] = {}
    before: tuple[str, nn.Module] | None = None
    for path, module in model.named_modules():
        if not module._parameters and not module._buffers:
            continue
        if (
            isinstance(module, _BatchNorm)
            and before is not None
            and isinstance(before[1], _ConvNd)
            and before[1].out_channels == module.num_features
            and module.running_mean is not None
        ):
            found[path] = before[0]
        before = path, module
    return found
