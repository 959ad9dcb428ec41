"""Profile a device, keep latency tables, train a network to a latency budget on it.

Every command of the command line is a function here, with the same arguments: ``profile``,
``fit``, ``predict``, ``inspect``, ``compress``, ``export``, ``verify``, ``bench`` and so on; each
returns a typed result whose ``to_dict()`` is what ``--json`` prints. Errors are in
``latprof.errors``. Names load on first use, and nothing asks for torch before a network is traced;
``__init__.pyi`` lists them.
"""

import importlib
import sys
import types

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name.endswith("Error"):  # where errors were before latprof.errors
        return getattr(importlib.import_module("latprof.errors"), name)
    return _load(name)


class _Package(types.ModuleType):
    """``compress``, ``devices`` and ``report`` are verbs here and packages too.

    Importing ``latprof.compress`` would set the attribute to the package; it stays the verb.
    ``from latprof.compress import ...`` reads the package all the same.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in ("compress", "devices", "report") and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
