"""From a model and its masks to a physically smaller one, and back from its recipe.

Names load on first use; ``__init__.pyi`` lists them. Comparing outputs asks for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
