from ._demo import demo as demo

__all__ = ["demo"]
