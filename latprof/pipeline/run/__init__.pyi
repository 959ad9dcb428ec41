from ._conclude import conclude as conclude
from ._deployment import Deployment as Deployment
from ._deployment import first_inputs as first_inputs
from ._file_job import file_job as file_job
from ._file_job import file_keys as file_keys
from ._folder import locked as locked
from ._job import Job as Job
from ._run_file import RunFile as RunFile
from ._settings import Settings as Settings
from ._trail import load_small as load_small
from ._train_run import Compression as Compression
from ._train_run import compress_in as compress_in
from ._watching import Progress as Progress
from ._watching import Watcher as Watcher

__all__ = [
    "Compression",
    "Deployment",
    "Job",
    "Progress",
    "RunFile",
    "Settings",
    "Watcher",
    "compress_in",
    "conclude",
    "file_job",
    "file_keys",
    "first_inputs",
    "load_small",
    "locked",
]
