from ._device import Device as Device
from ._device import DeviceInfo as DeviceInfo
from ._device import Job as Job
from ._device import Reading as Reading
from ._fake import BackgroundLoad as BackgroundLoad
from ._fake import FakeDevice as FakeDevice
from ._list import list_devices as list_devices
from ._op_profile import OpProfile as OpProfile
from ._op_profile import OpTime as OpTime
from ._open import device_settings as device_settings
from ._open import open_device as open_device
from ._open import open_target as open_target
from ._schedule_settings import ScheduleSettings as ScheduleSettings
from ._sentinel_times import SentinelTimes as SentinelTimes
from ._usage import Usage as Usage
from ._waiting import WaitBudget as WaitBudget
from .agent import Setting as Setting
from .measure import Comparison as Comparison
from .measure import Conditions as Conditions
from .measure import Event as Event
from .measure import Sustained as Sustained
from .measure import compare_files as compare_files
from .measure import compare_until as compare_until
from .measure import degrees_of as degrees_of
from .measure import measure_files as measure_files
from .measure import measure_sustained as measure_sustained
from .measure import measure_usage as measure_usage
from .measure import mostly_failed as mostly_failed
from .measure import profile as profile
from .measure import profile_many as profile_many
from .measure import run_inference as run_inference

__all__ = [
    "BackgroundLoad",
    "Comparison",
    "Conditions",
    "Device",
    "DeviceInfo",
    "Event",
    "FakeDevice",
    "Job",
    "OpProfile",
    "OpTime",
    "Reading",
    "ScheduleSettings",
    "SentinelTimes",
    "Setting",
    "Sustained",
    "Usage",
    "WaitBudget",
    "compare_files",
    "compare_until",
    "degrees_of",
    "device_settings",
    "list_devices",
    "measure_files",
    "measure_sustained",
    "measure_usage",
    "mostly_failed",
    "open_device",
    "open_target",
    "profile",
    "profile_many",
    "run_inference",
]
