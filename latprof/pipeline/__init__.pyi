from . import table as table
from ._agreement import agreement as agreement
from ._agreement import answer_of_file as answer_of_file
from ._bench import BenchResult as BenchResult
from ._bench import bench as bench
from ._calibrate import CalibrateResult as CalibrateResult
from ._calibrate import calibrate as calibrate
from ._compress import check_run as check_run
from ._compress import compress as compress
from ._devices import DeviceList as DeviceList
from ._devices import devices as devices
from ._export import ExportResult as ExportResult
from ._export import export as export
from ._fit import Fit as Fit
from ._fit import fit as fit
from ._init import InitResult as InitResult
from ._init import init as init
from ._inspect import Inspection as Inspection
from ._inspect import inspect as inspect
from ._predict import PredictResult as PredictResult
from ._predict import predict as predict
from ._profile import ProfileResult as ProfileResult
from ._profile import profile as profile
from ._report import ReportResult as ReportResult
from ._report import report as report
from ._sweep import SweepResult as SweepResult
from ._sweep import sweep as sweep
from ._training_process import prepare_for_training as prepare_for_training
from ._verify import Verification as Verification
from ._verify import verify as verify
from .explaining import WhyResult as WhyResult
from .explaining import why as why
from .gating import GateResult as GateResult
from .gating import gate as gate
from .into import calibrate_into as calibrate_into
from .into import profile_into as profile_into
from .into import profile_many_into as profile_many_into

__all__ = [
    "BenchResult",
    "CalibrateResult",
    "DeviceList",
    "ExportResult",
    "Fit",
    "GateResult",
    "InitResult",
    "Inspection",
    "PredictResult",
    "ProfileResult",
    "ReportResult",
    "SweepResult",
    "Verification",
    "WhyResult",
    "agreement",
    "answer_of_file",
    "bench",
    "calibrate",
    "calibrate_into",
    "check_run",
    "compress",
    "devices",
    "export",
    "fit",
    "gate",
    "init",
    "inspect",
    "predict",
    "prepare_for_training",
    "profile",
    "profile_into",
    "profile_many_into",
    "report",
    "sweep",
    "table",
    "verify",
    "why",
]
