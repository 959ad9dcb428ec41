"""Where POSIX has modules that other systems lack; and what is left in a home folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = ("fcntl", "resource", "pwd", "grp", "termios")
#: A module that is None in sys.modules cannot be imported.
HIDE = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN}))\n"
MAIN = "from latprof._cli import main\nsys.argv[0] = 'latprof'\nmain()\n"


def without_posix(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "LATPROF_PAUSE_S": "0"}
    environment.pop("XDG_CACHE_HOME", None)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HIDE + MAIN, *arguments],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("module", HIDDEN)
def test_hidden_means_hidden(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{HIDE}import {module}"], capture_output=True, check=False
    )
    assert b"ModuleNotFoundError" in done.stderr


def test_the_command_line_starts_without_posix(tmp_path: Path) -> None:
    done = without_posix("--help", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "profile" in done.stdout


def test_devices_are_listed_without_posix(tmp_path: Path) -> None:
    done = without_posix("devices", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["devices"][0]["name"] == "local"


@pytest.mark.parametrize("device", ["fake", "local"])
def test_a_profile_runs_without_posix(tmp_path: Path, device: str) -> None:
    pytest.importorskip("torch", reason="MODEL is a network of the zoo")
    table = tmp_path / "t.parquet"
    arguments = ["--for", "zoo:mobilenet_v3_small", "--budget-shapes", "32", "-o", str(table)]
    done = without_posix("profile", device, *arguments, "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shapes"] >= 32
    assert table.is_file()


def test_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    """ONNX Runtime writes an identifier and a queue of telemetry there, unless told not to."""
    pytest.importorskip("onnxruntime")
    script = (
        "from latprof.devices import open_device\n"
        "from latprof.workloads import Conv2d\n"
        "with open_device('local') as device:\n"
        "    assert next(device.round([Conv2d(7, 7, 16, 24)], measure_s=0.001)).samples_s\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "LATPROF_PAUSE_S": "0"}
    for name in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
