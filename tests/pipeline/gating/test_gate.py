"""Files on the fake device, whose law is exact: verdicts, exit codes, and what is written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.cli import answer, run

import latprof
from latprof.devices import (
    BackgroundLoad,
    Comparison,
    FakeDevice,
    SentinelTimes,
    compare_until,
)
from latprof.errors import ModelLoadError, UsageError, WorkloadError
from latprof.pipeline.gating import check_latency, check_slowdown
from latprof.pipeline.gating import gate as package_gate

SIZE = 20_000_000
#: After five rounds it leaves open whether a file is slower.
NOISE: dict[str, Any] = {"process_noise": 0.05, "seed": 2}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files whose latency on the fake device follows from their sizes."""
    made = {"old": 1.0, "same": 1.0, "slower": 1.03, "faster": 0.9}
    for name, share in made.items():
        with (tmp_path / f"{name}.onnx").open("wb") as out:
            out.truncate(int(share * SIZE))
    return {name: str(tmp_path / f"{name}.onnx") for name in made}


def end_after_five_rounds(patch: pytest.MonkeyPatch) -> None:
    """The least there are, in the same order in each run: how many fit into some time would follow
    from the machine, and the verdict from them."""
    random.seed(0)
    patch.setattr("latprof.pipeline.gating._gate.MAX_S", 1e-9)


def test_the_verb_is_the_function_of_its_package() -> None:
    assert latprof.gate is package_gate


@pytest.mark.parametrize(
    ("name", "verdict", "code"),
    [("same", "ok", 0), ("slower", "regression", 3), ("faster", "ok", 0)],
)
def test_a_file_against_its_predecessor(
    files: dict[str, str], name: str, verdict: str, code: int
) -> None:
    found = latprof.gate(files[name], against=files["old"], device="fake", process_noise=0.01)
    assert (found.verdict, found.exit_code) == (verdict, code)
    (check,) = found.checks
    size = Path(files[name]).stat().st_size / SIZE
    assert check.measured == pytest.approx(size - 1, abs=0.015)
    assert check.confidence >= 0.99


def test_the_figures_are_those_of_the_law(files: dict[str, str]) -> None:
    device = FakeDevice()
    paths = [Path(files["old"]), Path(files["slower"])]
    found = compare_until(device, paths, lambda found: True, max_s=10)
    laws = [device.law_s(path) for path in paths]
    assert found.latencies_s == pytest.approx(laws)
    assert found.ratios == pytest.approx([1.0, laws[1] / laws[0]])
    assert (found.rounds, found.taken, found.beside_load) == (5, 5, False)


def test_latencies_are_corrected_for_the_measured_slowdown(files: dict[str, str]) -> None:
    device = FakeDevice(loads=[BackgroundLoad(0, 1e9, slowdown=1.2)])
    device.baseline = SentinelTimes(core_s=device.law_s(device.sentinel))
    path = Path(files["old"])
    found = compare_until(device, [path], lambda found: True, max_s=10)
    assert found.latencies_s == pytest.approx([device.law_s(path)])
    assert found.beside_load
    assert check_latency(found, 0, 0.9 * device.law_s(path)).verdict == "undecided"


@pytest.mark.parametrize(("name", "verdict"), [("same", "ok"), ("slower", "regression")])
def test_a_load_that_comes_within_rounds_hides_nothing(
    files: dict[str, str], name: str, verdict: str
) -> None:
    """It lasts a part of a round, and slows by more than what is to be found."""
    random.seed(0)
    loads = [BackgroundLoad(0.5 * k, 0.5 * k + 0.17, slowdown=1.7) for k in range(200)]
    device = FakeDevice(process_noise=0.004, loads=loads)
    paths = [Path(files["old"]), Path(files[name])]
    seen: list[str] = []

    def decided(found: Comparison) -> bool:
        seen.append(check_slowdown(found, 1, 0.03).verdict)
        return len(seen) == 16

    found = compare_until(device, paths, decided, max_s=60)
    assert found.taken == 20
    assert set(seen) <= {verdict, "undecided"}
    assert seen[-8:] == [verdict] * 8
    assert found.ratios[1] == pytest.approx(1.03 if name == "slower" else 1.0, abs=0.006)


def test_limits_of_latency(files: dict[str, str]) -> None:
    law_s = FakeDevice().law_s(Path(files["old"]))
    for factor, verdict in ((1.1, "ok"), (0.9, "regression")):
        found = latprof.gate(files["old"], max_latency=factor * law_s, device="fake")
        assert found.verdict == verdict
        assert found.latency_s == pytest.approx(law_s)


def test_noise_that_stays_ends_undecided(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end_after_five_rounds(monkeypatch)
    found = latprof.gate(files["same"], against=files["old"], device="fake", **NOISE)
    assert (found.verdict, found.exit_code) == ("undecided", 4)
    assert "noise" in found.checks[0].detail


def test_both_limits_are_judged_and_the_worse_verdict_counts(files: dict[str, str]) -> None:
    found = latprof.gate(files["slower"], max_latency="10s", against=files["old"], device="fake")
    assert [c.verdict for c in found.checks] == ["ok", "regression"]
    assert found.verdict == "regression"
    assert json.loads(json.dumps(found.to_dict()))["checks"][1]["name"] == "max_slowdown"


def test_the_summary_is_markdown(files: dict[str, str]) -> None:
    text = latprof.gate(
        files["slower"], max_latency="10s", against=files["old"], device="fake"
    ).markdown()
    assert text.startswith("### slower.onnx: too slow\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(row.count("|") == 5 for row in rows)
    assert "| not 3.0% slower than old.onnx | +3.0%" in text


def test_the_report_is_junit(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = latprof.gate(files["slower"], max_latency="10s", against=files["old"], device="fake")
    suite = ElementTree.fromstring(found.junit())
    assert suite.attrib["tests"] == "2"
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "0")
    assert len(suite.findall("testcase/failure")) == 1
    end_after_five_rounds(monkeypatch)
    found = latprof.gate(files["same"], against=files["old"], device="fake", **NOISE)
    suite = ElementTree.fromstring(found.junit())
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("0", "1")
    assert len(suite.findall("testcase/error")) == 1


def test_what_cannot_be_done_is_one_line(files: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="nothing to compare with; expected --max"):
        latprof.gate(files["old"], device="fake")
    with pytest.raises(ModelLoadError, match=r"gone.onnx is not a file"):
        latprof.gate(files["old"], against="gone.onnx", device="fake")
    other = Path(files["old"]).with_suffix(".bin")
    other.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"no runtime is known for '.bin'"):
        latprof.gate(other, max_latency="1s", device="fake")


def test_the_command(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    same, old, slower = files["same"], files["old"], files["slower"]
    given = ["--against", old, "--device", "fake"]
    assert answer(monkeypatch, capsys, "gate", same, *given)["verdict"] == "ok"
    summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
    written = ["--markdown", str(summary), "--junit", str(junit)]
    for _ in range(2):  # a job's summary may have other steps' lines
        assert run(monkeypatch, "gate", slower, *given, *written) == 3
    assert summary.read_text().count("### slower.onnx: too slow") == 2
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "1"
    assert "regression" in capsys.readouterr().out
    assert run(monkeypatch, "gate", same, "--device", "fake") == 2
    end_after_five_rounds(monkeypatch)
    noise = [word for name, value in NOISE.items() for word in ("--set", f"{name}={value}")]
    assert run(monkeypatch, "gate", same, *given, *noise) == 4


def test_a_file_that_is_no_model_fails_otherwise(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(WorkloadError, match="was not timed"):
        latprof.gate(broken, max_latency="1s")
