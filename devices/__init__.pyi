from ._device import Device as Device
from ._device import DeviceInfo as DeviceInfo
from ._device import Job as Job
from ._device import Reading as Reading
from ._fake import FakeDevice as FakeDevice
from ._fake import Trouble as Trouble
from ._list import list_devices as list_devices
from ._open import open_device as open_device
from ._open import open_target as open_target
from ._schedule_settings import ScheduleSettings as ScheduleSettings
from .measure import Event as Event
from .measure import compare_files as compare_files
from .measure import measure_files as measure_files
from .measure import profile as profile
from .measure import profile_many as profile_many
from .measure import run_file as run_file

__all__ = [
    "Device",
    "DeviceInfo",
    "Event",
    "FakeDevice",
    "Job",
    "Reading",
    "ScheduleSettings",
    "Trouble",
    "compare_files",
    "list_devices",
    "measure_files",
    "open_device",
    "open_target",
    "profile",
    "profile_many",
    "run_file",
]
