from ._activation import activation as activation
from ._candidate import Candidate as Candidate
from ._candidate import Option as Option
from ._casts import casts as casts
from ._chain import chain as chain
from ._channels import channels as channels
from ._dead_branch import dead_branch as dead_branch
from ._float_island import float_island as float_island
from ._half import half as half
from ._kernels import kernels as kernels
from ._merge import merge_candidates as merge_candidates
from ._one_row import one_row as one_row
from ._one_row import pack_4_bits as pack_4_bits
from ._resize import resize as resize
from ._transposes import transposes as transposes

__all__ = [
    "Candidate",
    "Option",
    "activation",
    "casts",
    "chain",
    "channels",
    "dead_branch",
    "float_island",
    "half",
    "kernels",
    "merge_candidates",
    "one_row",
    "pack_4_bits",
    "resize",
    "transposes",
]
