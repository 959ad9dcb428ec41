"""The whole road to a phone as its user types it: profile, fit, predict, compress, verify."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.adbd import Phone, elf
from support.cli import RUN, TINY, answer

from latprof import LatencyTable

pytest_plugins = ["support.adb"]
pytest.importorskip("litert_torch", reason="pip install 'latprof[tflite-export]'")

# the converter warns of its own internals
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_the_road_to_a_phone(
    phone: Phone,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "tool").write_bytes(elf())
    device = f"adb:{phone.serial}"
    reach = ["--benchmark-model", "tool", "--set", "backend=direct"]
    reach += ["--set", f"key={home}/.android/adbkey"]

    def latprof(*args: str) -> dict[str, object]:
        return answer(monkeypatch, capsys, *args)

    plan = ["--runtime", "tflite", "--for", "tiny:net", "--budget-shapes", "24"]
    for _ in range(4):  # a busy machine disturbs rows; the same command measures those again
        profiled = latprof("profile", device, *plan, "-o", "tiny.parquet", *reach)
        if profiled["status"]["throttled"] == profiled["status"]["failed"] == 0:  # type: ignore[index]
            break
    calibrate = ["--calibrate", "tiny:net", "--variants", "4", "--device", device, *reach]
    fitted = latprof("fit", "tiny.parquet", *calibrate)
    assert fitted["composition"]
    predicted = latprof("predict", "tiny:net", "--table", "tiny.parquet")
    assert predicted["latency_s"] > 0  # type: ignore[operator]

    settings = f'benchmark_model = "tool"\nbackend = "direct"\nkey = "{home}/.android/adbkey"\n'
    run = f'device = "{device}"\n{RUN.format(budget="75%")}\n[device_settings]\n{settings}'
    for attempt in range(4):  # a busy machine may time the whole network as short as its budget
        (tmp_path / "run.toml").write_text(run.replace('"run"', f'"run{attempt}"'))
        result = latprof("compress", "run.toml")
        assert result["target"] == LatencyTable.load(Path("tiny.parquet")).target.to_dict()
        original, small = result["networks"][0], result["networks"][-1]
        if small["params"] < original["params"]:  # type: ignore[index]
            break
    else:
        pytest.fail("four runs on this machine in a row removed nothing")
    file = str(small["file"])  # type: ignore[index]
    assert file.endswith(".tflite")
    on_phone = ["--device", device, "--table", "tiny.parquet", *reach]
    verified = latprof("verify", file, *on_phone)
    assert verified["latency_s"] > 0  # type: ignore[operator]
    assert verified["max_rel_error"] < 1e-5  # type: ignore[operator]
    assert phone.get("fixed_performance") == "false"  # as it was found
    assert not list(phone.tmp.iterdir())
