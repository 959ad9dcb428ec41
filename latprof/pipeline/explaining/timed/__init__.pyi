from ._alone import AloneTimes as AloneTimes
from ._alone import time_alone as time_alone
from ._whole import Inputs as Inputs
from ._whole import Saved as Saved
from ._whole import checked as checked
from ._whole import runs as runs
from ._whole import saved_by as saved_by

__all__ = ["AloneTimes", "Inputs", "Saved", "checked", "runs", "saved_by", "time_alone"]
