"""Architectures and data to try latprof on, so that no other package is needed.

Each name in MODELS is a function that gives ``(model, example_inputs)``; ``zoo:NAME`` names it.
"""

from latprof.zoo._concat import ConcatNet, densenet, googlenet, shufflenet_v2, squeezenet
from latprof.zoo._fashion_mnist import fashion_mnist
from latprof.zoo._mobilenet import MobileNet, mobilenet_v1, mobilenet_v2
from latprof.zoo._mobilenet_v3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from latprof.zoo._others import LstmClassifier, UNet, VisionTransformer, lstm, unet, vit
from latprof.zoo._resnet import ResNet, resnet18, resnet50

MODELS = (
    "densenet", "googlenet", "lstm", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "resnet18", "resnet50", "shufflenet_v2", "squeezenet", "unet", "vit",
)  # fmt: skip

__all__ = [
    "MODELS",
    "ConcatNet",
    "LstmClassifier",
    "MobileNet",
    "MobileNetV3",
    "ResNet",
    "UNet",
    "VisionTransformer",
    "densenet",
    "fashion_mnist",
    "googlenet",
    "lstm",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet50",
    "shufflenet_v2",
    "squeezenet",
    "unet",
    "vit",
]
