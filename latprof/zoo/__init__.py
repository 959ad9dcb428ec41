"""Architectures and data to try latprof on, and latency tables by name.

Each name in MODELS is a function that gives ``(model, example_inputs)``; ``zoo:NAME`` names it.
Names load on first use; ``__init__.pyi`` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
