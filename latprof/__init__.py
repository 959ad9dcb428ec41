"""Profile a device, keep latency tables, train a network to a latency budget on it.

Names load on first use, so that ``import latprof`` is quick and nothing asks for torch before
a network is traced. ``__init__.pyi`` lists them; errors are in ``latprof.errors``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
