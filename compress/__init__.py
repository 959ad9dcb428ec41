"""From any architecture to a physically smaller one that computes the same.

``trace`` follows every channel through a model, ``Compressor`` trains masks to a latency budget,
``shrink`` removes what they zeroed, ``export`` writes the file to deploy. Names load on first
use, and ``__init__.pyi`` lists them: reading the workloads of a file asks for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
