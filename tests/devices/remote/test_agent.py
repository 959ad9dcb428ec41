"""The agent and its near end: protocol, faults and their time limits, knobs, no process left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.devices import alive, children, wait_until

from latprof.devices import (
    Event,
    ScheduleSettings,
    measure_files,
    open_device,
    profile,
    run_inference,
)
from latprof.devices.agent import _host
from latprof.devices.agent._clock import clock_resolution_s, thin, time_calls
from latprof.devices.agent._host import Knobs, describe_cpu
from latprof.devices.agent._protocol import PROTOCOL_VERSION
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.devices.remote import AgentDevice, AgentOptions
from latprof.errors import (
    DeviceLostError,
    DeviceTimeoutError,
    MissingExtraError,
    ModelLoadError,
    ProtocolError,
    UnknownDeviceError,
    UsageError,
    WorkloadError,
)
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool

QUICK = ScheduleSettings(
    round_s=0.001, min_rounds=3, max_rounds=3, pause_s=1e-9, min_core_share=0.0, max_slowdown=99
)
OPS = [Conv2d(7, 7, 16, 24), MatMul(4, 8, 16), Elementwise("add", 7, 7, 16), Pool("max", 7, 7, 16)]


def bad_agent(script: str, limit_s: float = 1.0) -> AgentDevice:
    """An agent that answers as ``script`` says; ``say`` and ``hear`` are there for it."""
    prelude = (
        "import json, sys, time, os\n"
        "number = 0\n"
        "def say(**a): print(json.dumps({'request': number, **a}), flush=True)\n"
        "def hear():\n"
        "  global number\n"
        "  heard = json.loads(sys.stdin.readline())\n"
        "  number = heard.get('request', 0)\n"
        "  return heard\n"
        f"hello = dict(ok=True, version={PROTOCOL_VERSION}, device='bad', runtime_version='0',"
        " delegate='', precision='float32', carry='', settings={}, clock_resolution_s=1e-8)\n"
        "measured = dict(ok=True, samples_s=[1e-6], core_share=1.0, cost_s=1e-3, sentinel_s=1e-5,"
        " memory_s=0.0, waited_s=0.0)\n"
        "hear()\n"  # the modules
    )
    command = [sys.executable, "-c", prelude + script]
    return AgentDevice(
        AgentOptions("bad", command, "onnxruntime", limit_s=limit_s), shares_files=True
    )


#: Opens as a device; in each round, hears of the sentinel and of a job, and then ...
OPENS = (
    "hear(); say(**hello)\n"
    "if hear()['op'] == 'environment':\n"
    "  say(ok=True); hear(); say(ok=True); hear()\n"
    "  say(**measured); hear(); sys.exit()\n"
    "say(ok=True, seconds=0); hear(); say(ok=True)\n"
    "hear(); say(ok=True, seconds=0); hear()\n"
)


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("sys.exit(3)", DeviceLostError, r"gone \(exit code 3\): it wrote nothing"),
        ("raise SystemError('melted')", DeviceLostError, "exit code 1.*melted"),
        ("os.kill(os.getpid(), 9)", DeviceLostError, "killed by SIGKILL"),
        ("time.sleep(60)", DeviceTimeoutError, "no answer to hello within 1 s"),
        (
            "print('Segmentation fault', flush=True); time.sleep(60)",
            ProtocolError,
            "answered b'Segmentation",
        ),
        ("print('[1, 2]', flush=True); time.sleep(60)", ProtocolError, "expected JSON with"),
        ("sys.stdout.write('{'); sys.stdout.flush(); time.sleep(60)", DeviceTimeoutError, "hello"),
        (
            "hear(); say(**{**hello, 'version': 99}); time.sleep(60)",
            ProtocolError,
            "speaks protocol 99",
        ),
        ("hear(); say(ok=False, error='version', message='no')", ProtocolError, "bad: no"),
        ("say(ok=False)", ProtocolError, "answered request 0 to hello"),
        ("print('{', flush=True); time.sleep(60)", ProtocolError, "expected JSON with"),
        ("print('{\"ok\": true}', flush=True); time.sleep(60)", ProtocolError, "request None"),
        ("print('[' * 100_000, flush=True); time.sleep(60)", ProtocolError, "expected JSON with"),
        (
            "print(json.dumps(dict(ok=False, error='python', version='3.8.1')))",
            UnknownDeviceError,
            r"Python 3\.8\.1",
        ),
        (
            "print(json.dumps(dict(ok=False, error='missing', package='onnxruntime')))",
            MissingExtraError,
            "onnx",
        ),
    ],
)
def test_what_is_wrong_at_the_start_is_a_typed_error_in_time(
    script: str, error: type[Exception], says: str
) -> None:
    start = time.monotonic()
    with pytest.raises(error, match=says) as caught:
        bad_agent(script)
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)
    assert not children(os.getpid())


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("sys.exit(3)", DeviceLostError),
        ("time.sleep(60)", DeviceTimeoutError),
        ("print('%$!', flush=True); time.sleep(60)", ProtocolError),
    ],
)
def test_what_goes_wrong_later_ends_in_the_same_errors(script: str, error: type[Exception]) -> None:
    """The device opens, then fails each round at its first job."""
    device = bad_agent(OPENS + script)
    start = time.monotonic()
    with pytest.raises(error):
        list(profile(device, OPS, settings=QUICK))
    assert time.monotonic() - start < 3 * 4  # three rounds, each within the limit and a grace
    assert not children(os.getpid())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("{k: v for k, v in measured.items() if k != 'samples_s'}", "samples_s .* is missing"),
        ("{k: v for k, v in measured.items() if k != 'cost_s'}", "cost_s in .* is missing"),
        ("{**measured, 'samples_s': []}", r"samples_s .* is \[\]; expected finite seconds"),
        ("{**measured, 'samples_s': [0.0]}", "expected finite seconds, more than 0"),
        ("{**measured, 'samples_s': [float('nan')]}", "expected finite seconds"),
        ("{**measured, 'samples_s': 'many'}", "samples_s .* is 'many'"),
        ("{**measured, 'samples_s': [1e-6] * 99999}", "expected finite seconds"),
        ("{**measured, 'core_share': 1.5}", "core_share .* expected a number from 0 to 1"),
        ("{**measured, 'sentinel_s': True}", "sentinel_s .* is True; expected a finite number"),
        ("{**measured, 'waited_s': -1}", "waited_s .* is -1"),
        ("{**measured, 'request': number - 1}", "expected one answer to each"),
    ],
)
def test_an_answer_that_is_not_as_agreed_is_a_protocol_error(answer: str, says: str) -> None:
    device = bad_agent(f"{OPENS}say(**{answer}); hear()", limit_s=20.0)
    with pytest.raises(ProtocolError, match=says) as caught:
        list(device.round(OPS, measure_s=0.001))
    assert "\n" not in str(caught.value)
    assert not children(os.getpid())


@pytest.mark.parametrize("field", ["device", "settings", "carry", "clock_resolution_s"])
def test_a_hello_without_a_field_is_a_protocol_error(field: str) -> None:
    with pytest.raises(ProtocolError, match=f"{field} in the answer to hello is missing"):
        bad_agent(f"hear(); del hello['{field}']; say(**hello)\n" + OPENS.partition("\n")[2], 20.0)


def test_two_answers_to_one_request_are_noticed() -> None:
    with pytest.raises(
        ProtocolError, match="answered request 1 to environment, which is request 2"
    ):
        bad_agent("hear(); say(**hello); say(**hello); hear(); time.sleep(60)", 20.0)


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("while True: sys.stdout.write('x' * 65536)", ProtocolError, "more than 16 MB to hello"),
        ("while True: print('x' * 999)", ProtocolError, "answered b'xxx"),
        ("while True: sys.stderr.write('x' * 65536)", DeviceTimeoutError, "no answer to hello"),
        ("kept = []\nwhile True: kept.append(b'x' * (1 << 24))", DeviceLostError, "MemoryError"),
    ],
)
def test_output_and_memory_without_end_are_bounded(
    script: str, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    real = os.sysconf
    small = {"SC_PHYS_PAGES": (512 << 20) // real("SC_PAGE_SIZE")}
    monkeypatch.setattr(os, "sysconf", lambda name: small.get(name) or real(name))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(error, match=says):
        bad_agent(script, limit_s=4.0)
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert not children(os.getpid())


def test_what_an_agent_has_started_ends_with_it(tmp_path: Path) -> None:
    """It holds the agent's pipes open, too; the agent's own end is not the end of its group."""
    started = tmp_path / "started"
    script = (
        "import subprocess\n"
        f"open('{started}', 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); sys.exit(3)"
    )
    with pytest.raises(DeviceTimeoutError):
        bad_agent(script, limit_s=2.0)
    pid = int(started.read_text())
    wait_until(lambda: not alive(pid))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_agent_ended_or_frozen_mid_run_loses_nothing_measured(
    how: signal.Signals, tmp_path: Path
) -> None:
    journal = tmp_path / "run.jsonl"
    events: list[Event] = []

    def strike(event: Event) -> None:
        events.append(event)
        if event.kind == "reading" and sum(e.kind == "reading" for e in events) == 2:
            for pid in children(os.getpid()):
                os.kill(pid, how)

    with open_device("local", limit_s=2.0) as device:
        rows = list(profile(device, OPS, settings=QUICK, journal=journal, on_event=strike))
    assert {row.workload for row in rows} == set(OPS)
    assert "failed" not in {row.status for row in rows}
    assert [e.kind for e in events].count("lost") == 1
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    kept = sum("reading" in line for line in lines) - sum(
        len(line["discard"]) for line in lines if "discard" in line
    )
    assert kept == 3 * len(OPS)


def test_a_peer_that_stops_reading_times_out(tmp_path: Path) -> None:
    device = bad_agent(
        "hear(); say(**hello)\n"
        "if not os.path.exists('" + str(tmp_path / "opened") + "'):\n"
        "  hear(); say(ok=True); hear(); say(ok=True)\n"
        "  hear(); say(**measured); hear()\n"
        "else: time.sleep(60)"
    )
    (tmp_path / "opened").touch()
    model = tmp_path / "large.onnx"
    model.write_bytes(bytes(8_000_000))
    device._shares_files = False
    start = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match="took no byte"):
        device.run(model, {})
    assert time.monotonic() - start < 5


def test_agents_die_with_their_parent(tmp_path: Path) -> None:
    script = (
        "from latprof.workloads import Conv2d\nfrom latprof.devices import *\n"
        "with open_device('local') as d:\n"
        "  for r in d.round([Conv2d(7, 7, 16, c) for c in range(1, 999)], measure_s=.01):\n"
        "    print('.', flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    agents = children(parent.pid)
    assert agents
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(alive(pid) for pid in agents))


def test_ctrl_c_stops_the_run_and_the_agent(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with open_device("local") as device:
        with pytest.raises(KeyboardInterrupt):
            list(profile(device, OPS, settings=QUICK, on_event=interrupt))
        assert not children(os.getpid())
        assert len(list(profile(device, OPS, settings=QUICK))) == len(OPS)


def test_a_refused_job_is_an_error_and_the_next_one_runs(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with open_device("local") as device:
        first, second = device.round([broken, OPS[0]], measure_s=0.001)
        with pytest.raises(WorkloadError):
            run_inference(device, broken, {})
    assert "broken.onnx" in first.error or "protobuf" in first.error.lower()
    assert second.samples_s


def test_files_are_run_and_timed(tmp_path: Path) -> None:
    path = tmp_path / "op.onnx"
    path.write_bytes(write_onnx(MatMul(4, 8, 16)))
    x = np.ones((4, 8), np.float32)
    with open_device("local") as device:
        (out,) = run_inference(device, path, {"x": x})
        (timing,) = measure_files(device, [path], settings=QUICK)
        with pytest.raises(ModelLoadError, match="is not a file"):
            measure_files(device, [tmp_path / "absent.onnx"])
        with pytest.raises(WorkloadError, match=r"inputs are \['y'\]; the model takes \['x'\]"):
            run_inference(device, path, {"y": x})
    assert out.shape == (4, 16)
    assert timing.usable
    np.testing.assert_array_equal(run_inference("onnxruntime", path, {"x": x})[0], out)


def test_torch_runs_exported_programs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, broken = tmp_path / "net.pt2", tmp_path / "broken.pt2"
    net = torch.nn.Linear(4, 3)
    torch.export.save(torch.export.export(net, (torch.zeros(2, 4),)), path)
    broken.write_bytes(b"no archive")
    x = np.ones((2, 4), np.float32)
    with open_device("local", runtime="torch") as device:
        (out,) = device.run(path, {"input": x})
        assert next(device.round([path], measure_s=0.001)).samples_s
        assert "zip" in next(device.round([broken], measure_s=0.001)).error
    np.testing.assert_allclose(out, net(torch.ones(2, 4)).detach(), rtol=1e-6)


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs/guide/profile-a-device.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (example,) = [code for code in examples if "run.jsonl" in code]
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/guide/profile-a-device.md", "exec"), {})
    assert (tmp_path / "run.jsonl").is_file()


def test_knobs_are_read_back_and_refusals_recorded() -> None:
    with open_device("local", affinity="0", governor="performance") as device:
        found = device.environment()
    assert found["affinity"] == [0]
    if not Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():
        assert "no cpufreq" in found["refused"]["governor"]
    assert 0 < found["dispatch_s"] < 1e-3
    with open_device("local", affinity="none") as device:
        assert device.environment()["affinity"] == sorted(os.sched_getaffinity(0))


def test_the_governor_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    governor = tmp_path / "cpu0/cpufreq/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("powersave")
    monkeypatch.setattr(_host, "_CPUS", tmp_path)
    knobs = Knobs(1, affinity="none", governor="performance")
    assert knobs.read_back()["governor"] == "performance"
    knobs.restore()
    knobs.restore()
    assert governor.read_text() == "powersave"


def test_unknown_runtimes_and_settings_are_named() -> None:
    with pytest.raises(UnknownDeviceError, match="runtime is 'ncnn'; local knows onnxruntime"):
        open_device("local", runtime="ncnn")
    with pytest.raises(UsageError, match="graph is 'most'; expected one of all"):
        open_device("local", graph="most")
    with pytest.raises(
        UsageError, match=r"no setting 'colour'; its settings are graph, python, affinity"
    ):
        open_device("local", colour="red")


def test_the_target_names_the_machine() -> None:
    with open_device("local", threads=2) as device:
        target = device.target
    assert target.device == describe_cpu()
    assert (target.runtime, target.threads) == ("onnxruntime", 2)
    assert target.delegate == "CPUExecutionProvider"


def test_timing_fills_the_time_and_beats_the_clock() -> None:
    resolution_s = clock_resolution_s()
    assert 0 < resolution_s < 1e-5
    timed = time_calls(lambda: sum(range(50)), measure_s=0.02, resolution_s=resolution_s)
    assert 0.02 <= timed.cost_s < 0.2
    assert 0 < timed.core_share <= 1
    assert 5 <= len(timed.samples_s) <= 40
    slow = time_calls(lambda: time.sleep(0.02), measure_s=0.01, resolution_s=resolution_s)
    assert len(slow.samples_s) == 5
    assert min(slow.samples_s) >= 0.02


def test_thinning_keeps_the_percentiles() -> None:
    samples = np.random.default_rng(0).exponential(1e6, 5000).astype(int).tolist()
    kept = thin(samples, 40)
    assert len(kept) == 40
    assert (min(kept), max(kept)) == (min(samples), max(samples))
    for q in (20, 50, 80):
        assert np.percentile(kept, q) == pytest.approx(np.percentile(samples, q), rel=0.1)
    assert thin([3, 1, 2], 40) == [3, 1, 2]
