from ._agreement import agreement as agreement
from ._agreement import answer_of_file as answer_of_file
from ._allocator import keep_freed_memory as keep_freed_memory
from ._calibrate import calibrate_into as calibrate_into
from ._export import export_measured as export_measured
from ._profile import profile_into as profile_into
from ._profile_many import profile_many_into as profile_many_into
from ._verify import verify as verify

__all__ = [
    "agreement",
    "answer_of_file",
    "calibrate_into",
    "export_measured",
    "keep_freed_memory",
    "profile_into",
    "profile_many_into",
    "verify",
]
