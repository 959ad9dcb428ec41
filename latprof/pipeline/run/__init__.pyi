from ._conclude import conclude as conclude
from ._deployment import Deployment as Deployment
from ._deployment import first_inputs as first_inputs
from ._file_job import file_job as file_job
from ._file_job import file_keys as file_keys
from ._folder import claim as claim
from ._folder import keep_blocks as keep_blocks
from ._folder import locked as locked
from ._folder import model_digest as model_digest
from ._folder import require_same_run as require_same_run
from ._job import Job as Job
from ._keep import OBJECTIVES as OBJECTIVES
from ._keep import Keep as Keep
from ._keep import OneObjective as OneObjective
from ._keep import SearchSettings as SearchSettings
from ._keep import SearchSpace as SearchSpace
from ._processes import DeviceOfFirst as DeviceOfFirst
from ._processes import is_first as is_first
from ._processes import is_one_of_several as is_one_of_several
from ._processes import join_processes as join_processes
from ._run_file import RunFile as RunFile
from ._settings import Settings as Settings
from ._settings import named_settings as named_settings
from ._trail import Levels as Levels
from ._trail import load_small as load_small
from ._trail import recalibrated as recalibrated
from ._train_run import Compression as Compression
from ._train_run import Training as Training
from ._train_run import compress_in as compress_in
from ._train_run import run_fingerprint as run_fingerprint
from ._watching import Progress as Progress
from ._watching import Watcher as Watcher

__all__ = [
    "OBJECTIVES",
    "Compression",
    "Deployment",
    "DeviceOfFirst",
    "Job",
    "Keep",
    "Levels",
    "OneObjective",
    "Progress",
    "RunFile",
    "SearchSettings",
    "SearchSpace",
    "Settings",
    "Training",
    "Watcher",
    "claim",
    "compress_in",
    "conclude",
    "file_job",
    "file_keys",
    "first_inputs",
    "is_first",
    "is_one_of_several",
    "join_processes",
    "keep_blocks",
    "load_small",
    "locked",
    "model_digest",
    "named_settings",
    "recalibrated",
    "require_same_run",
    "run_fingerprint",
]
