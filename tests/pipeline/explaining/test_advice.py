"""What slows the file that a run ends with: in the result, in the report, and never a loss."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.slow_files import SLOW_FILES

from latprof import RunResult, Target
from latprof.devices import Device, open_device
from latprof.errors import DeviceLostError
from latprof.pipeline.explaining import with_advice
from latprof.pipeline.run import Settings
from latprof.report import advice_lines, write_report
from latprof.vocabulary import AdviceResult, BudgetOutcome, NetworkResult, checksum

TARGET = Target("Box", "onnxruntime", "1.31", 1, delegate="CPUExecutionProvider")
ADVICE = AdviceResult("2 nodes are computed", "leave them out", 2e-3, 1.5e-3, True)


def finished(folder: Path, target: Target = TARGET) -> RunResult:
    file = SLOW_FILES["dead_branch"][0](folder / "compressed.onnx")
    networks = tuple(
        NetworkResult(name, 0.9, 1e-3, 1e-3, 10, 20, str(file))
        for name in ("original", "compressed")
    )
    result = RunResult(target, networks, (BudgetOutcome("latency", "60%", 1.0, 0.5),))
    result.save(folder / "result.json")
    return result


def never(threads: int, settings: dict[str, Any]) -> Device:
    raise AssertionError("the device is not to be opened")


def local(threads: int, settings: dict[str, Any]) -> Device:
    return open_device("local", runtime="onnxruntime", threads=threads, **settings)


def explained(
    folder: Path,
    result: RunResult,
    took_s: float,
    open_with: Callable[[int, dict[str, Any]], Device] = never,
) -> RunResult:
    return with_advice(result, folder, open_with, took_s, lambda text: None)


def test_a_short_run_is_not_lengthened(tmp_path: Path) -> None:
    result = finished(tmp_path)
    assert explained(tmp_path, result, 60.0) is result


def test_devices_that_cannot_tell_are_left_alone(tmp_path: Path) -> None:
    gpu = dataclasses.replace(TARGET, delegate="CUDAExecutionProvider")
    result = finished(tmp_path, gpu)
    assert explained(tmp_path, result, 1e4) is result


@pytest.mark.parametrize("failure", [DeviceLostError("it is gone"), RuntimeError("it is gone")])
def test_a_failure_is_a_warning(
    failure: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(threads: int, settings: dict[str, Any]) -> Device:
        raise failure

    result = finished(tmp_path)
    with caplog.at_level(logging.WARNING, "latprof"):
        assert explained(tmp_path, result, 1e4, fails) is result
    (line,) = caplog.messages
    assert "it is gone" in line
    assert "try: latprof why" in line
    assert RunResult.load(tmp_path / "result.json") == result


@pytest.mark.slow
def test_verdicts_stand_in_the_result(tmp_path: Path) -> None:
    told = explained(tmp_path, finished(tmp_path), 600.0, local)
    assert told.advice[0].words.startswith("2 nodes are computed")
    assert len(told.advice) <= 3
    assert RunResult.load(tmp_path / "result.json") == told
    # The same file is not measured again, however short the run that goes on.
    again = dataclasses.replace(told, advice=())
    assert explained(tmp_path, again, 1.0).advice == told.advice


def test_advice_is_written_and_shown(tmp_path: Path) -> None:
    seen = dataclasses.replace(ADVICE, words="<RELU6> runs elsewhere", saves_s=None)
    told = dataclasses.replace(finished(tmp_path), advice=(ADVICE, seen))
    told.save(tmp_path / "result.json")
    assert RunResult.load(tmp_path / "result.json") == told
    lines = advice_lines(told)
    assert "predicted to save 1.50 ms of 2.00 ms" in lines[0]
    assert "save" not in lines[1]
    (tmp_path / "log.jsonl").write_text("")
    page = write_report(tmp_path).read_text()
    assert "What slows the file" in page
    assert "&lt;RELU6&gt; runs elsewhere: 2.00 ms" in page


def test_results_from_before_are_read(tmp_path: Path) -> None:
    data = finished(tmp_path).to_dict()
    del data["advice"], data["sha256"]
    digest = checksum({k: v for k, v in data.items() if k != "format"})
    assert RunResult.from_dict({**data, "sha256": digest}).advice == ()


def test_the_switch_is_no_part_of_what_is_trained() -> None:
    assert Settings(why=False).to_text() == Settings().to_text()


def test_damaged_advice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="finite seconds"):
        dataclasses.replace(ADVICE, takes_s=float("nan"))
    json.dumps(dataclasses.asdict(ADVICE))
