"""Scalars of a device as numbers of the host, without waiting for the device each time."""

from __future__ import annotations

from torch import Tensor

__all__ = ["HostScalar"]


class HostScalar:
    """The value of a scalar buffer, read from its device only after somebody else wrote to it.

    The buffer stays what is saved and loaded. A copy of its module reads it anew.
    """

    def __init__(self) -> None:
        self._tensor: Tensor | None = None
        self._version = -1
        self._value: bool | int | float = 0

    def of(self, tensor: Tensor) -> bool | int | float:
        """The value of the buffer as it is now."""
        if tensor.is_inference():  # such tensors do not count who writes to them
            return tensor.item()
        if self._tensor is not tensor or self._version != tensor._version:
            self._keep(tensor, tensor.item())
        return self._value

    def write(self, tensor: Tensor, value: bool | int | float) -> None:
        """Put a number of the host into the buffer."""
        tensor.fill_(value)
        if not tensor.is_inference():
            self._keep(tensor, value)

    def _keep(self, tensor: Tensor, value: bool | int | float) -> None:
        self._tensor, self._version, self._value = tensor, tensor._version, value

    def __reduce__(self) -> tuple[type[HostScalar], tuple[()]]:
        return HostScalar, ()
