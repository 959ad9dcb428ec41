"""Architectures to try latprof on, written out so that no other package is needed.

Each name in MODELS is a function that gives ``(model, example_inputs)``; ``zoo:NAME`` names it.
"""

from latprof.zoo._mobilenet_v3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small

MODELS = ("mobilenet_v3_large", "mobilenet_v3_small")

__all__ = ["MODELS", "MobileNetV3", "mobilenet_v3_large", "mobilenet_v3_small"]
