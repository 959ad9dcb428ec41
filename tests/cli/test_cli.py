"""The command as its user types it: results, exit codes, and errors of one line."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cli import RUN, TINY, answer, run
from support.throttled import skip_if_throttled

from latprof import LatencyTable


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's module, and a table of it measured here and calibrated."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny.py").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        profile = ["profile", "local", "--runtime", "onnxruntime", "--for", "tiny:net"]
        calibrate = ["fit", "tiny.parquet", "--calibrate", "tiny:net", "--variants", "4"]
        shapes = ["-o", "tiny.parquet", "--budget-shapes", "16"]
        for _ in range(4):  # a busy machine disturbs rows; the same commands measure those again
            if run(patch, *profile, *shapes) == 0 and run(patch, *calibrate) == 0:
                return folder
        skip_if_throttled(folder / "tiny.parquet")
        pytest.fail("four profiles of this machine in a row were disturbed")


@pytest.fixture
def user(measured: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(measured)
    monkeypatch.syspath_prepend(measured)
    return measured


def complaint(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str
) -> tuple[int, str]:
    """Exit code and the error line."""
    capsys.readouterr()
    code = run(patch, *args)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("latprof: error: ")
    return code, lines[0]


def test_end_to_end_by_commands(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the table to the page; the run is killed on the way, and the same command goes on."""
    shown = answer(monkeypatch, capsys, "predict", "tiny:net", "--table", "tiny.parquet")
    assert 0 < shown["lower_s"] < shown["latency_s"] < shown["upper_s"]  # type: ignore[operator]
    groups = answer(monkeypatch, capsys, "inspect", "tiny:net", "--table", "tiny.parquet")
    assert groups["groups"]
    watch = ["--tracker", "tensorboard"] if importlib.util.find_spec("tensorboardX") else []
    logged = killed_in_the_mask_phase(user, "run.toml", "--trail", "1", *watch)
    result = answer(monkeypatch, capsys, "compress", "run.toml", "--trail", "1", *watch)
    rows = [json.loads(line) for line in (user / "run/log.jsonl").read_text().splitlines()]
    places = [(row["phase"] != "masks", row["step"]) for row in rows]
    assert places == sorted(set(places))  # each step once, though some were done twice
    assert rows[: len(logged) - 1] == logged[:-1]
    networks = {n["name"]: n for n in result["networks"]}  # type: ignore[attr-defined]
    assert list(networks) == ["original", "trail/1", "compressed"]
    assert (user / "run/trail/1.onnx").is_file()
    assert (user / "run/run.toml").read_text() == (user / "run.toml").read_text()
    assert bool(watch) == (user / "run/tensorboard").is_dir()
    small = networks["compressed"]
    assert small["params"] < networks["original"]["params"]
    verified = answer(
        monkeypatch,
        capsys,
        "verify",
        str(small["file"]),
        "--device",
        "local",
        "--table",
        "tiny.parquet",
    )
    assert verified["max_rel_error"] < 1e-5  # type: ignore[operator]
    assert verified["latency_s"] > 0  # type: ignore[operator]
    page = answer(monkeypatch, capsys, "report", "run")
    text = Path(str(page["report"])).read_text()
    assert "<svg" in text
    assert "http" not in text.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("https://matplotlib.org", "").replace("http://creativecommons.org", "")


def test_a_launcher_starts_two_processes(user: Path) -> None:
    """Both train, and the first measures, writes and prints alone."""
    run_file = RUN.format(budget="85%").replace('"run"', '"two"')
    (user / "two.toml").write_text(run_file)
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launched, "--nproc_per_node", "2", "-m", "latprof", "compress", "two.toml"]
    environment = {**os.environ, "PYTHONPATH": str(user)}
    ran = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    networks = {n["name"]: n for n in json.loads(ran.stdout)["networks"]}
    assert networks["compressed"]["params"] < networks["original"]["params"]
    rows = [json.loads(line) for line in (user / "two/log.jsonl").read_text().splitlines()]
    places = [(row["phase"] != "masks", row["step"]) for row in rows]
    assert places == sorted(set(places))


def killed_in_the_mask_phase(user: Path, *command: str) -> list[dict[str, int]]:
    """kill -9 after the first checkpoint; what the log held then."""
    run_file = RUN.format(budget="85%").replace("epochs = 3", "epochs = 20")
    (user / "run.toml").write_text(f"save_every_s = 0.1\n{run_file}")
    first = subprocess.Popen(
        [sys.executable, "-m", "latprof", "compress", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint, log = user / "run/masks.checkpoint", user / "run/log.jsonl"
    while not (checkpoint.exists() and log.exists() and log.stat().st_size):
        assert first.poll() is None, "ended before its first checkpoint"
        time.sleep(0.05)
    first.kill()
    first.wait()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[-1]["step"] < rows[-1]["total"]
    return rows


def test_a_second_profile_continues_the_first(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = LatencyTable.load("tiny.parquet")
    profile = ["profile", "local", "--for", "tiny:net", "-o", "tiny.parquet"]
    answer(monkeypatch, capsys, *profile, "--budget-shapes", "18")
    after = LatencyTable.load("tiny.parquet")
    assert len(after) >= len(before)
    kept = {m.workload: m for m in after.measurements}
    assert all(kept[m.workload] == m for m in before.usable)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["profile", "toaster", "--for", "tiny:net", "-o", "x.parquet"], "toaster"),
        (["profile", "local", "--runtime", "abacus", "--for", "tiny:net", "-o", "x"], "abacus"),
        (["profile", "local", "--for", "tiny:gone", "-o", "x.parquet"], "gone"),
        (["profile", "local", "--for", "no_such:net", "-o", "x.parquet"], "no_such"),
        (["predict", "zoo:nothing", "--table", "tiny.parquet"], "nothing"),
        (["predict", "tiny:net", "--table", "missing.parquet"], "missing.parquet"),
        (["verify", "missing.onnx", "--table", "tiny.parquet"], "missing.onnx"),
        (["compress", "missing.toml"], "missing.toml"),
        (["report", "nowhere"], "nowhere"),
        (["frobnicate"], "frobnicate"),
        (["profile", "local"], "--for"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    says: str,
) -> None:
    code, line = complaint(monkeypatch, capsys, *args)
    assert (code, says in line) == (2, True), line


@pytest.mark.parametrize("cut", [0, 100, -8])
def test_corrupt_and_truncated_tables(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    body = Path("tiny.parquet").read_bytes()
    Path("broken.parquet").write_bytes(body[:cut] if cut else b"not a table" * 20)
    code, line = complaint(monkeypatch, capsys, "fit", "broken.parquet")
    assert (code, "broken.parquet" in line) == (2, True), line


def test_a_table_of_another_target_is_refused(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = LatencyTable.load("tiny.parquet")
    other = dataclasses.replace(table, target=dataclasses.replace(table.target, device="Another"))
    other.save("other.parquet")
    profile = ["profile", "local", "--for", "tiny:net", "-o", "other.parquet"]
    code, line = complaint(monkeypatch, capsys, *profile)
    assert (code, "Another" in line) == (2, True), line


@pytest.mark.parametrize("budget", ["120%", "1%", "quickly"])
def test_budgets_that_cannot_be_met(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    Path("bad.toml").write_text(RUN.format(budget=budget).replace('"run"', '"bad"'))
    code, line = complaint(monkeypatch, capsys, "compress", "bad.toml")
    assert (code, "reachable" in line or "expected a latency" in line) == (2, True), line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("epochs = 3", "epoch = 3"), "unknown key masks.epoch"),
        (("epochs = 3", 'epochs = "three"'), "[masks]"),
        (('data = "tiny:data"', ""), "data is None"),
        (("budget =", "budget"), "is not TOML"),
    ],
)
def test_run_files_are_checked(
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    says: str,
) -> None:
    Path("typo.toml").write_text(RUN.format(budget="85%").replace(*change))
    code, line = complaint(monkeypatch, capsys, "compress", "typo.toml")
    assert (code, says in line) == (2, True), line
