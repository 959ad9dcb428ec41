"""What can be set of a phone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from latprof.devices.adb._benchmark_model import DELEGATES, NPU_FLAGS
from latprof.devices.agent import Setting
from latprof.vocabulary import Target

__all__ = ["BACKENDS", "PHONE_SETTINGS", "PhoneSettings", "settings_of"]

BACKENDS = ("auto", "server", "direct")
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class PhoneSettings:
    """How a phone is measured.

    Args:
        cluster: ``little``, ``mid``, ``big``, as the phone has them; "" is the fastest.
        threads: of the runtime; at most the cluster's cores.
        precision: what float32 workloads are computed in: ``float32``, ``float16`` (float32 files
            too) or ``int8``. Workloads of dtype float16 and int8 are timed as such whatever it is.
        delegate: one of DELEGATES.
        benchmark_model, benchmark_model_sha256: as find_tool takes them.
        fixed_performance, stay_awake: as Knobs takes them.
        pause_s, poll_s: as Thermals takes them.
        return_s: how long to wait for a phone that was lost to come back.
        limit_s: one process on the phone is killed after this long.
        npu: values of NPU_FLAGS, for the delegate ``NPU``.
    """

    cluster: str = ""
    threads: int = 1
    precision: str = "float32"
    delegate: str = "XNNPACK"
    benchmark_model: str = ""
    benchmark_model_sha256: str = ""
    fixed_performance: bool = True
    stay_awake: bool = True
    pause_s: float = 600.0
    poll_s: float = 10.0
    return_s: float = 120.0
    limit_s: float = 60.0
    npu: Mapping[str, str] = field(default_factory=dict)


#: By name, as open_phone takes them.
PHONE_SETTINGS = (
    Setting("backend", "how the phone is reached", choices=BACKENDS, default="auto"),
    Setting("benchmark_model", "TFLite's benchmark_model: a file, an address, or download"),
    Setting("benchmark_model_sha256", "what that file must digest to"),
    Setting("cluster", "which cores: little, mid or big, as the phone has them"),
    Setting("compiler_plugin_library_path", "LiteRT's flag, for delegate=NPU"),
    Setting("delegate", "what computes", choices=tuple(DELEGATES), default="XNNPACK"),
    Setting("dispatch_library_path", "for delegate=NPU: folder of its libraries on the phone"),
    Setting("fixed_performance", "ask for Android's fixed-performance mode", "boolean",
            default="true"),
    Setting("key", "the private key that the phone knows this computer by"),
    Setting("mediatek_nerun_pilot_version", "LiteRT's flag, for delegate=NPU"),
    Setting("pause_s", "how long to wait for a throttled phone to cool", "seconds",
            default="600"),
    Setting("poll_s", "time between two questions while waiting for the phone", "seconds",
            default="10"),
    Setting("precision", "what float32 workloads are computed in", choices=PRECISIONS,
            default="float32"),
    Setting("return_s", "how long to wait for a lost phone to come back", "seconds",
            default="120"),
    Setting("stay_awake", "wake the screen and keep it on", "boolean", default="true"),
)  # fmt: skip


def settings_of(target: Target) -> dict[str, str]:
    """Settings that open a phone as the target of an earlier table has it."""
    kept = dict(target.settings)
    return {
        "cluster": target.device.rpartition("/")[2],
        "delegate": target.delegate,
        "precision": target.precision,
        "fixed_performance": kept.get("fixed_performance", "on"),
        **{name: kept[name] for name in NPU_FLAGS if name in kept},
    }
