"""Throttling: seen in the thermal status and in the cap on the cluster's clock, and waited out."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from latprof.devices.adb._state import THERMAL_NAMES, Cluster
from latprof.devices.adb._transport import Transport
from latprof.errors import DeviceError

__all__ = ["Thermals"]

_log = logging.getLogger("latprof")

#: MODERATE: the first status at which Android slows the phone noticeably.
_THROTTLED = 2
#: The cap wanders a little with the governor; below this share of its first value it is a throttle.
_CAPPED = 0.98


class Thermals:
    """One cluster's thermal watch.

    Args:
        name: the phone, for messages.
        pause_s: how long to wait for the phone to cool.
        poll_s: seconds between two questions while waiting; each prints one line.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        *,
        pause_s: float,
        poll_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name, self._cluster = name, cluster
        self._pause_s, self._poll_s, self._sleep = pause_s, poll_s, sleep
        self._full_hz = 0
        self.pauses = 0

    @property
    def command(self) -> str:
        """What to ask the phone; ``throttled`` reads the answer."""
        policy = f"/sys/devices/system/cpu/cpufreq/policy{self._cluster.policy}"
        return (
            f'echo "cap=$(cat {policy}/scaling_max_freq 2>/dev/null)"; '
            'dumpsys thermalservice 2>/dev/null | grep "Thermal Status:"'
        )

    def start(self, transport: Transport) -> None:
        """Learn the clock's cap of the cool phone; one that is hot already is waited for."""
        text = transport.run(self.command).output
        while self.throttled(text):
            self.cool(transport)
            text = transport.run(self.command).output
        self._full_hz = _cap_hz(text)

    def throttled(self, text: str) -> str:
        """What throttles the phone, in words; "" where nothing does."""
        status = re.search(r"Thermal Status: (\d+)", text)
        if status and int(status[1]) >= _THROTTLED:
            level = min(int(status[1]), len(THERMAL_NAMES) - 1)
            return f"thermal status {THERMAL_NAMES[level]}"
        cap_hz = _cap_hz(text)
        if cap_hz and cap_hz < _CAPPED * self._full_hz:
            return f"clock capped at {cap_hz / 1e9:.2f} of {self._full_hz / 1e9:.2f} GHz"
        return ""

    def cool(self, transport: Transport) -> None:
        """Wait until nothing throttles the phone, counting down.

        Raises:
            DeviceError: it is still throttled after ``pause_s``.
        """
        self.pauses += 1
        left_s = self._pause_s
        while why := self.throttled(transport.run(self.command).output):
            if left_s <= 0:
                raise DeviceError(
                    f"{self._name} is still throttled ({why}) after a pause of {self._pause_s:g} "
                    "s; take it out of its case and off the charger's heat, and run the same "
                    "command again: nothing measured is lost"
                )
            _log.warning(
                "%s is throttled (%s): pausing, at most %.0f s more", self._name, why, left_s
            )
            self._sleep(min(self._poll_s, left_s))
            left_s -= self._poll_s


def _cap_hz(text: str) -> int:
    found = re.search(r"^cap=(\d+)", text, re.MULTILINE)
    return int(found[1]) * 1000 if found else 0
