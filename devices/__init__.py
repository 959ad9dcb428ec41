"""Everything that touches hardware: device specs, agents, transports, runtimes, timing."""

from latprof.devices._compare import compare_files
from latprof.devices._device import Device, DeviceInfo, Job, Reading
from latprof.devices._fake import FakeDevice, Trouble
from latprof.devices._list import list_devices
from latprof.devices._many import profile_many
from latprof.devices._open import open_device, open_target
from latprof.devices._profile import Event, measure_files, profile, run_file
from latprof.devices._schedule import ScheduleSettings

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
