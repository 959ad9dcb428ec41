"""Why a file may be slow: one file for each cause, which names the nodes and what to try.

Nothing is a verdict before what to try is measured. Names load on first use; ``__init__.pyi``
lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
