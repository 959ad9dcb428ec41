"""What the tests of phones have them measure, and how little of it."""

from __future__ import annotations

from collections.abc import Callable

from latprof.devices import ScheduleSettings
from latprof.devices.adb._device import AdbDevice
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload

#: The fixture that opens phones.
Open = Callable[..., AdbDevice]

JOBS: list[Workload] = [
    Conv2d(14, 14, 64, 80),
    Conv2d(14, 14, 32, 32, kernel=3, groups=32),
    MatMul(1, 256, 128),
    Elementwise("scale", 7, 7, 96),
]
MORE = ScheduleSettings(round_s=0.02, min_rounds=3, max_rounds=3, max_slowdown=50, noisy=9)
QUICK = ScheduleSettings(round_s=0.02, min_rounds=2, max_rounds=2, max_slowdown=50, noisy=9)
