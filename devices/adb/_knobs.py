"""Knobs that keep a phone at one speed: set, read back, restored, whatever happens in between.

Before a knob is turned, the command that turns it back is written to ``restore.sh`` in the work
folder on the phone. A clean exit, an error and Ctrl-C run it; after a killed laptop or a pulled
cable, the next connection finds the folder and runs it first. A reboot resets these knobs itself.
"""

from __future__ import annotations

from typing import Any

from latprof.devices.adb._transport import Transport, quote, run_checked

__all__ = ["Knobs", "clean_up"]

_STAY_ON = "stay_on_while_plugged_in"
_FIXED = "cmd power set-fixed-performance-mode-enabled"


def clean_up(transport: Transport, folder: str) -> None:
    """Turn back what an earlier run left turned, and remove its work folder."""
    folder = quote(folder)
    run_checked(
        transport, f"[ ! -f {folder}/restore.sh ] || sh {folder}/restore.sh; rm -rf {folder}"
    )


class Knobs:
    """Turns what can be turned without root.

    Args:
        folder: the work folder on the phone; it must exist.
        fixed_performance: ask for Android's fixed-performance mode (Android 11+, where the phone's
            maker supports it): clocks held at what the phone sustains.
        stay_awake: wake the screen and keep it on while plugged in; a dozing phone parks its cores.
    """

    def __init__(
        self, transport: Transport, folder: str, *, fixed_performance: bool, stay_awake: bool
    ) -> None:
        self._transport, self._script = transport, quote(f"{folder}/restore.sh")
        self._read_back: dict[str, Any] = {}
        self._refused: dict[str, str] = {}
        if stay_awake:
            self._keep_awake()
        if fixed_performance:
            self._fix_performance()

    def read_back(self) -> dict[str, Any]:
        """Each knob as the phone had it before and has it now, and what it refused."""
        return {**self._read_back, "refused": dict(self._refused)}

    def _keep_awake(self) -> None:
        before = self._ask(f"settings get global {_STAY_ON}")
        asleep = "Awake" not in self._ask("dumpsys power | grep mWakefulness=")
        old = before if before.isdigit() else "0"
        self._undo_with(f"settings put global {_STAY_ON} {quote(old)}")
        self._ask("svc power stayon true")
        if asleep:
            self._undo_with("input keyevent KEYCODE_SLEEP")
            self._ask("input keyevent KEYCODE_WAKEUP")
        now = self._ask(f"settings get global {_STAY_ON}")
        self._read_back["stay_awake"] = {"before": before, "now": now}
        self._read_back["screen"] = self._ask("dumpsys power | grep mWakefulness=").strip()
        if now in ("0", "null", ""):
            self._refused["stay_awake"] = f"{_STAY_ON} reads {now!r} after it was set"

    def _fix_performance(self) -> None:
        self._undo_with(f"{_FIXED} false")
        answer = self._transport.run(f"{_FIXED} true")
        # Android has no command that reads this mode back: its exit code is what it tells
        self._read_back["fixed_performance"] = "on" if answer.code == 0 else "off"
        if answer.code:
            self._refused["fixed_performance"] = " ".join(answer.output.split())[:200]

    def _undo_with(self, command: str) -> None:
        run_checked(self._transport, f"echo {quote(command)} >> {self._script}")

    def _ask(self, command: str) -> str:
        return self._transport.run(command).output.strip()
