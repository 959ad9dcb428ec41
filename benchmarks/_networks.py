"""Lists of networks that other packages define, at the size they are published in."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from support.architectures import Architecture, Built, randomise

__all__ = ["LISTS", "architectures_of"]

_TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50",
    "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn",
    "vit_b_32", "wide_resnet50_2", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50",
    "fcn_resnet50", "lraspp_mobilenet_v3_large", "r3d_18", "mc3_18", "r2plus1d_18", "s3d",
)  # fmt: skip
_TIMM = (
    "beit_base_patch16_224", "botnet26t_256", "caformer_s18", "cait_xxs24_224", "coat_tiny",
    "coatnet_0_rw_224", "convformer_s18", "convmixer_768_32", "convnextv2_atto",
    "crossvit_tiny_240",
    "cspresnet50", "cspdarknet53", "darknet53", "deit3_small_patch16_224", "dla34", "dpn68",
    "edgenext_small", "efficientformer_l1", "efficientnet_lite0", "efficientvit_b0",
    "fastvit_t8", "focalnet_tiny_srf", "ghostnet_100", "hardcorenas_a", "hrnet_w18_small",
    "lcnet_050", "levit_128s", "maxvit_nano_rw_256", "maxxvit_rmlp_nano_rw_256", "mixer_s32_224",
    "mixnet_s", "mobileone_s0", "mobilevit_xxs", "mobilevitv2_050", "nfnet_l0", "pit_ti_224",
    "poolformer_s12", "pvt_v2_b0", "repvgg_a0", "res2net50_14w_8s", "resmlp_12_224",
    "resnetv2_50x1_bit", "tinynet_e", "xcit_nano_12_p16_224",
)  # fmt: skip

#: Package: names of its networks.
LISTS = {"torchvision": _TORCHVISION, "timm": _TIMM}
#: Of a batch that batch norms are settled on, at published sizes.
_IMAGES = 4
_VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")


def architectures_of(package: str) -> dict[str, Architecture]:
    """{package/name: network} of a list; the package must be installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    module = importlib.import_module("torchvision.models" if package == "torchvision" else package)
    return {
        f"{package}/{name}": Architecture(
            package, functools.partial(_build, module, package, name), images=_IMAGES
        )
        for name in LISTS[package]
    }


def _build(module: Any, package: str, name: str) -> Built:
    torch.manual_seed(0)
    if package == "timm":
        model = module.create_model(name)
        shape: tuple[int, ...] = (1, *model.default_cfg["input_size"])
    else:
        unpublished = {"weights": None}
        if "deeplab" in name or "fcn" in name or "lraspp" in name:
            unpublished["weights_backbone"] = None
        model = module.get_model(name, **unpublished)
        side = 299 if name == "inception_v3" else 224
        shape = (1, 3, side, side)
        if name in _VIDEO:
            side = 224 if name == "s3d" else 112
            shape = (1, 3, 16, side, side)
    return randomise(model), torch.zeros(shape)
