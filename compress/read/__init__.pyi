from ._tflite_workloads import transposes as transposes
from ._workloads import workloads_of_file as workloads_of_file

__all__ = [
    "transposes",
    "workloads_of_file",
]
