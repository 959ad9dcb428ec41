"""Settings of devices and runtimes: one schema, read before anything is started."""

from __future__ import annotations

import inspect

import pytest

from latprof.devices import Setting, device_settings, open_device
from latprof.devices.adb import PHONE_SETTINGS
from latprof.devices.adb._benchmark_model import NPU_FLAGS
from latprof.devices.adb._settings import PhoneSettings
from latprof.devices.agent import GPU_RUNTIME_SETTINGS, RUNTIME_SETTINGS, read_settings
from latprof.errors import UsageError
from latprof.workloads import Conv2d

SPECS = [
    *(("local", runtime) for runtime in RUNTIME_SETTINGS),
    *(("cuda:0", runtime) for runtime in GPU_RUNTIME_SETTINGS),
    ("adb:x", "tflite"),
    ("fake", "onnxruntime"),
]


@pytest.mark.parametrize(("spec", "runtime"), SPECS)
def test_every_setting_says_what_it_is_and_reads_its_own_default(spec: str, runtime: str) -> None:
    known = device_settings(spec, runtime)
    assert len({setting.name for setting in known}) == len(known)
    for setting in known:
        assert setting.help
        assert "\n" not in setting.help
        if setting.default:
            assert read_settings({setting.name: setting.default}, known, spec)


@pytest.mark.parametrize("spelled", ["true", "True", "yes", "on", True])
def test_booleans_have_one_spelling_and_the_old_ones_are_read(spelled: object) -> None:
    assert Setting("it", "", "boolean").read(spelled) is True


@pytest.mark.parametrize("spelled", ["false", "False", "no", "off", False])
def test_what_is_false(spelled: object) -> None:
    assert Setting("it", "", "boolean").read(spelled) is False


@pytest.mark.parametrize(
    ("spec", "runtime", "given", "says"),
    [
        ("local", "onnxruntime", {"threads": 0}, "threads is '0'; expected a whole number of at"),
        ("local", "onnxruntime", {"threads": "two"}, "threads is 'two'; expected a whole number"),
        ("local", "onnxruntime", {"threads": 1.5}, "threads is '1.5'; expected a whole number"),
        ("fake", "onnxruntime", {"threads": -1}, "threads is '-1'"),
        ("local", "onnxruntime", {"limit_s": "0"}, "limit_s is '0'; expected seconds, more than 0"),
        ("local", "onnxruntime", {"limit_s": "nan"}, "limit_s is 'nan'; expected seconds"),
        ("local", "onnxruntime", {"affinity": "fast"}, "expected auto, none, or cores such as 0,1"),
        ("local", "onnxruntime", {"affinity": "0,"}, "expected auto, none, or cores such as 0,1"),
        ("local", "onnxruntime", {"affinity": "4711"}, "is '4711'; expected auto, none, or some"),
        ("local", "onnxruntime", {"graph": "most"}, "graph is 'most'; expected one of all"),
        ("local", "tflite", {"xnnpack": "maybe"}, "xnnpack is 'maybe'; expected true or false"),
        ("local", "torch", {"graph": "all"}, "local with torch has no setting 'graph'"),
        ("local", "onnxruntime", {"gpu_clock": "1230"}, "no setting 'gpu_clock'"),
        ("cuda:0", "cuda", {"cache": "warm"}, "cache is 'warm'; expected one of hot, cold"),
        ("cuda:0", "torch", {"autotune": "some"}, "autotune is 'some'; expected true or false"),
        ("cuda:0", "cuda", {"gpu_clock": "fast"}, "gpu_clock is 'fast'; expected a whole number"),
        ("adb:x", "tflite", {"stay_awake": "maybe"}, "is 'maybe'; expected true or false"),
        ("adb:x", "tflite", {"pause_s": "long"}, "pause_s is 'long'; expected seconds"),
        ("adb:x", "tflite", {"delegate": "HEXAGON"}, "expected one of XNNPACK, none, GPU, NNAPI"),
        ("adb:x", "tflite", {"limit_s": "-5"}, "limit_s is '-5'"),
        ("fake", "onnxruntime", {"stair": "0"}, "stair is '0'; expected a whole number of"),
        ("fake", "onnxruntime", {"drift": "inf"}, "drift is 'inf'; expected a number"),
    ],
)  # fmt: skip
def test_bad_values_are_one_line_that_says_what_is_expected(
    spec: str, runtime: str, given: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        open_device(spec, runtime=runtime, **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["local", "fake"])
def test_the_limit_may_be_text_as_the_command_line_has_it(spec: str) -> None:
    with open_device(spec, limit_s="20") as device:  # type: ignore[arg-type]
        assert next(device.round([Conv2d(7, 7, 16, 24)], measure_s=0.001)).samples_s


@pytest.mark.parametrize(("spelled", "delegate"), [("off", "none"), ("true", "XNNPACK")])
def test_both_spellings_reach_the_runtime(spelled: str, delegate: str) -> None:
    pytest.importorskip("ai_edge_litert")
    with open_device("local", runtime="tflite", xnnpack=spelled) as device:
        assert device.target.delegate == delegate


def test_the_schema_of_phones_is_what_a_phone_takes() -> None:
    elsewhere = {"threads", "limit_s", "backend", "key", "npu", *NPU_FLAGS}
    taken = inspect.signature(PhoneSettings).parameters
    assert {setting.name for setting in PHONE_SETTINGS} - elsewhere == set(taken) - elsewhere
    for setting in PHONE_SETTINGS:
        if setting.default and setting.name in taken:
            assert setting.read(setting.default) == taken[setting.name].default
