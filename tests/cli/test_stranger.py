"""A machine without torch, with a read-only or a full disk, with brackets in its paths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latprof import LatencyTable
from latprof.errors import LatprofError

HIDING = """
import sys
hidden = sys.argv.pop(1).split(",")
class Hiding:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in hidden:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hiding, sys.meta_path)
from latprof._cli import main
main()
"""


def latprof(
    *args: str, hidden: str = "tkinter", cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A ``latprof`` command in a process in which these modules are not installed."""
    return subprocess.run(
        [sys.executable, "-c", HIDING, hidden, *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "LATPROF_PAUSE_S": "0", **environment},
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a table that ``fake`` gave, measured without torch, from a file of ONNX."""
    pytest.importorskip("onnx", reason="pip install 'latprof[onnx]'")
    from latprof.compress import export
    from latprof.zoo import lstm

    folder = tmp_path_factory.mktemp("s") / "stranger [bold] [/x]"
    folder.mkdir(parents=True)
    export(*lstm(), folder / "net.onnx")
    profile = ("profile", "fake", "--for", "net.onnx", "-o", "t.parquet", "--shapes", "12")
    done = latprof(*profile, hidden="torch", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "args",
    [
        ("devices",),
        ("inspect", "net.onnx"),
        ("inspect", "net.onnx", "--table", "t.parquet"),
        ("predict", "net.onnx", "--table", "t.parquet"),
        ("fit", "t.parquet"),
        ("table", "show", "t.parquet"),
        ("table", "check", "t.parquet"),
        ("table", "export", "t.parquet", "-o", "t.csv", "--force"),
    ],
)
def test_commands_that_need_no_torch_run_without_it(folder: Path, args: tuple[str, ...]) -> None:
    done = latprof(*args, hidden="torch", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "written to" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("inspect", "zoo:lstm"),
        ("compress", "run.toml"),
        ("demo",),
        ("export", "zoo:lstm", "-o", "x.onnx"),
        ("fit", "t.parquet", "--calibrate", "zoo:lstm", "--device", "fake"),
    ],
)
def test_commands_that_need_torch_say_how_to_get_it(folder: Path, args: tuple[str, ...]) -> None:
    done = latprof(*args, hidden="torch", cwd=folder)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "pip install 'latprof[train]'" in errors[0]
    assert "Traceback" not in done.stderr


def test_brackets_are_printed_as_they_are(folder: Path) -> None:
    done = latprof("table", "show", str(folder / "t.parquet"), cwd=folder, COLUMNS="300")
    assert "stranger [bold] [" in done.stdout
    devices = latprof("devices", hidden="ai_edge_litert,tflite_runtime", cwd=folder, COLUMNS="300")
    assert devices.returncode == 0, devices.stderr


def test_an_ascii_locale_and_no_home_are_no_obstacle(folder: Path) -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "HOME": "/nonexistent"}
    done = latprof("predict", "net.onnx", "--table", "t.parquet", cwd=folder, **environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [("n" * 300, "name too long"), ("t.parquet/t", "File exists")],
)
def test_what_the_system_refuses_is_one_line(folder: Path, path: str, says: str) -> None:
    done = latprof("table", "export", "t.parquet", "-o", f"{path}.csv", cwd=folder)
    assert done.returncode in (1, 2)
    assert says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_is_the_end(folder: Path) -> None:
    script = f"{sys.executable} -m latprof table show t.parquet --rows | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, cwd=folder
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_file_that_was_not_made_here_is_replaced_only_by_force(folder: Path) -> None:
    (folder / "mine.csv").write_text("mine")
    done = latprof("table", "export", "t.parquet", "-o", "mine.csv", cwd=folder)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (folder / "mine.csv").read_text() == "mine"


def test_a_bad_checkout_of_a_table_names_the_file(folder: Path) -> None:
    (folder / "lfs.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(LatprofError, match=r"lfs\.parquet"):
        LatencyTable.load(folder / "lfs.parquet")
