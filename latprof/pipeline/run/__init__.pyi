from ._compression import Settings as Settings
from ._compression import Workshop as Workshop
from ._compression import compress_in as compress_in
from ._compression import conclude as conclude
from ._compression import first_inputs as first_inputs
from ._run_file import RunFile as RunFile
from ._running import run_file as run_file

__all__ = [
    "RunFile",
    "Settings",
    "Workshop",
    "compress_in",
    "conclude",
    "first_inputs",
    "run_file",
]
