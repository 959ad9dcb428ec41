from ._agreement import TOLERANCE as TOLERANCE
from ._agreement import Agreement as Agreement
from ._agreement import compare_outputs as compare_outputs
from ._agreement import has_nan as has_nan
from ._agreement import relative_error as relative_error
from ._compare_models import MAX_ROUNDING as MAX_ROUNDING
from ._compare_models import compare_models as compare_models
from ._compare_models import comparing as comparing
from ._compare_models import float64_outputs as float64_outputs
from ._compare_models import is_half as is_half
from ._compare_models import proof_inputs as proof_inputs
from ._compare_models import random_inputs as random_inputs
from ._compare_models import repeat_fault as repeat_fault
from ._compare_models import rounding_error as rounding_error
from ._factored import is_conv1d as is_conv1d
from ._factored import split as split
from ._recalibrate import recalibrate as recalibrate
from ._recipe import load_shrunk as load_shrunk
from ._recipe import read_recipe as read_recipe
from ._recipe import recipe_of as recipe_of
from ._saved import is_saved as is_saved
from ._saved import load_saved as load_saved
from ._saved import save_shrunk as save_shrunk
from ._shrink import cut as cut
from ._shrink import masked_forward as masked_forward
from ._shrink import shrink as shrink
from ._skip import gated as gated
from ._variant import variant as variant

__all__ = [
    "MAX_ROUNDING",
    "TOLERANCE",
    "Agreement",
    "compare_models",
    "compare_outputs",
    "comparing",
    "cut",
    "float64_outputs",
    "gated",
    "has_nan",
    "is_conv1d",
    "is_half",
    "is_saved",
    "load_saved",
    "load_shrunk",
    "masked_forward",
    "proof_inputs",
    "random_inputs",
    "read_recipe",
    "recalibrate",
    "recipe_of",
    "relative_error",
    "repeat_fault",
    "rounding_error",
    "save_shrunk",
    "shrink",
    "split",
    "variant",
]
