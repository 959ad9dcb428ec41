"""From a network to the file that is deployed: ONNX, TFLite, int8; proven to compute the same.

Names load on first use; ``__init__.pyi`` lists them. Checks and sessions ask for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
