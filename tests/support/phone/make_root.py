"""Lays out a Pixel-6-like /sys, /proc and state under a folder: ``make_root(folder)``."""

from __future__ import annotations

from pathlib import Path

#: (first CPU, last CPU, maximum kHz, capacity) of each cluster, as /sys shows them.
CLUSTERS = ((0, 3, 1803000, 250), (4, 5, 2253000, 620), (6, 7, 2802000, 1024))

ZONES = (("BIG", 41000), ("MID", 40000), ("LITTLE", 39000), ("battery", 31200), ("skin", 33500))

STATE = {
    "ro.product.model": "Pixel 6",
    "ro.product.device": "oriole",
    "ro.product.manufacturer": "Google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "google/oriole/oriole:14/UQ1A.240205.002/11224170:user/release-keys",
    "ro.soc.model": "Tensor",
    "fixed_performance": "false",
    "stay_on_while_plugged_in": "0",
    "wakefulness": "Asleep",
    "thermal_status": "0",
    "battery_level": "87",
    "battery_saver": "0",
    "usb_powered": "true",
}


def make_root(root: Path) -> None:
    for first, last, khz, capacity in CLUSTERS:
        policy = root / f"sys/devices/system/cpu/cpufreq/policy{first}"
        cpus = " ".join(str(cpu) for cpu in range(first, last + 1))
        _write(policy / "related_cpus", cpus)
        _write(policy / "cpuinfo_max_freq", khz)
        _write(policy / "scaling_max_freq", khz)
        _write(policy / "scaling_cur_freq", khz // 2)
        _write(policy / "scaling_governor", "sched_pixel")
        for cpu in range(first, last + 1):
            _write(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", capacity)
    for i, (kind, temperature) in enumerate(ZONES):
        _write(root / f"sys/class/thermal/thermal_zone{i}/type", kind)
        _write(root / f"sys/class/thermal/thermal_zone{i}/temp", temperature)
    _write(root / "proc/sys/kernel/random/boot_id", "6f1b5d0e-0000-4000-8000-000000000001")
    _write(root / "proc/self/status", "Name:\tsh\nCpus_allowed:\tff")
    for name, value in STATE.items():
        _write(root / "state" / name, value)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")
