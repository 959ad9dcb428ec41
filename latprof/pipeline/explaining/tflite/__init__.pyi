from ._candidate import TfliteCandidate as TfliteCandidate
from ._changes import activations as activations
from ._changes import dead_ops as dead_ops
from ._changes import round_trips as round_trips
from ._channels import channels as channels
from ._file import TfliteEdit as TfliteEdit
from ._file import TfliteFile as TfliteFile
from ._file import load_tflite_file as load_tflite_file
from ._outside import float_islands as float_islands
from ._outside import left_transposes as left_transposes
from ._outside import outside_delegate as outside_delegate
from ._ran import run_tflite_ops as run_tflite_ops

__all__ = [
    "TfliteCandidate",
    "TfliteEdit",
    "TfliteFile",
    "activations",
    "channels",
    "dead_ops",
    "float_islands",
    "left_transposes",
    "load_tflite_file",
    "outside_delegate",
    "round_trips",
    "run_tflite_ops",
]
