from . import errors as errors
from .compress import Compressor as Compressor
from .compress import Prune as Prune
from .compress import export as export
from .compress import load_shrunk as load_shrunk
from .compress import shrink as shrink
from .compress import trace as trace
from .devices import open_device as open_device
from .devices import profile as profile
from .surrogate import fit as fit
from .tables import LatencyTable as LatencyTable
from .tables import plan as plan
from .vocabulary import Measurement as Measurement
from .vocabulary import Target as Target
from .vocabulary import Timing as Timing
from .workloads import Conv2d as Conv2d
from .workloads import Elementwise as Elementwise
from .workloads import MatMul as MatMul
from .workloads import Pool as Pool
from .workloads import Workload as Workload

__all__ = [
    "Compressor",
    "Conv2d",
    "Elementwise",
    "LatencyTable",
    "MatMul",
    "Measurement",
    "Pool",
    "Prune",
    "Target",
    "Timing",
    "Workload",
    "export",
    "fit",
    "load_shrunk",
    "open_device",
    "plan",
    "profile",
    "shrink",
    "trace",
]
