from . import errors as errors
from ._demo import demo as demo
from .compress import LC as LC
from .compress import (
    Compressor as Compressor,
)
from .compress import (
    Depth as Depth,
)
from .compress import Gradual as Gradual
from .compress import LayerInfo as LayerInfo
from .compress import (
    LowRank as LowRank,
)
from .compress import (
    Masks as Masks,
)
from .compress import OneShot as OneShot
from .compress import (
    Prune as Prune,
)
from .compress import (
    Quantize as Quantize,
)
from .compress import SchemeTarget as SchemeTarget
from .compress import (
    Sparse as Sparse,
)
from .compress import Threshold as Threshold
from .compress import layers as layers
from .compress import recalibrate as recalibrate
from .compress import save_shrunk as save_shrunk
from .compress import (
    shrink as shrink,
)
from .compress import (
    trace as trace,
)
from .devices import Device as Device
from .devices import open_device as open_device
from .models import load_model as load_model
from .models import load_shrunk as load_shrunk
from .pipeline import (
    bench as bench,
)
from .pipeline import (
    calibrate as calibrate,
)
from .pipeline import (
    compress as compress,
)
from .pipeline import (
    devices as devices,
)
from .pipeline import (
    export as export,
)
from .pipeline import (
    fit as fit,
)
from .pipeline import (
    gate as gate,
)
from .pipeline import (
    init as init,
)
from .pipeline import (
    inspect as inspect,
)
from .pipeline import (
    predict as predict,
)
from .pipeline import (
    profile as profile,
)
from .pipeline import (
    report as report,
)
from .pipeline import sweep as sweep
from .pipeline import (
    table as table,
)
from .pipeline import (
    verify as verify,
)
from .pipeline import (
    why as why,
)
from .surrogate import Surrogate as Surrogate
from .tables import LatencyTable as LatencyTable
from .tables import plan as plan
from .vocabulary import (
    Measurement as Measurement,
)
from .vocabulary import (
    RunResult as RunResult,
)
from .vocabulary import (
    Target as Target,
)
from .vocabulary import (
    Timing as Timing,
)
from .workloads import (
    Conv2d as Conv2d,
)
from .workloads import (
    Elementwise as Elementwise,
)
from .workloads import (
    MatMul as MatMul,
)
from .workloads import (
    Pool as Pool,
)
from .workloads import (
    Workload as Workload,
)

__all__ = [
    "LC",
    "Compressor",
    "Conv2d",
    "Depth",
    "Device",
    "Elementwise",
    "Gradual",
    "LatencyTable",
    "LayerInfo",
    "LowRank",
    "Masks",
    "MatMul",
    "Measurement",
    "OneShot",
    "Pool",
    "Prune",
    "Quantize",
    "RunResult",
    "SchemeTarget",
    "Sparse",
    "Surrogate",
    "Target",
    "Threshold",
    "Timing",
    "Workload",
    "bench",
    "calibrate",
    "compress",
    "demo",
    "devices",
    "errors",
    "export",
    "fit",
    "gate",
    "init",
    "inspect",
    "layers",
    "load_model",
    "load_shrunk",
    "open_device",
    "plan",
    "predict",
    "profile",
    "recalibrate",
    "report",
    "save_shrunk",
    "shrink",
    "sweep",
    "table",
    "trace",
    "verify",
    "why",
]
