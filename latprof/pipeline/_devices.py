"""``devices``: what there is to measure on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from latprof.devices import DeviceInfo, list_devices

__all__ = ["DeviceList", "devices"]


@dataclass(frozen=True)
class DeviceList:
    """Devices, each with the runtimes that are usable and what the others lack."""

    devices: tuple[DeviceInfo, ...]

    def __iter__(self) -> Iterator[DeviceInfo]:
        return iter(self.devices)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        fields = [{**dataclasses.asdict(d), "missing": dict(d.missing)} for d in self.devices]
        return {"devices": fields}


def devices(hosts: Iterable[str] = ()) -> DeviceList:
    """This machine, its GPUs, the phones that adb sees, and the given ssh hosts.

    Nothing is measured. Each ssh host is asked once per runtime.

    Args:
        hosts: ``ssh:HOST``, for machines to look at too.

    Example:
        >>> [device.name for device in latprof.devices()]  # doctest: +SKIP
        ['local', 'cuda']
    """
    return DeviceList(tuple(list_devices(hosts)))
