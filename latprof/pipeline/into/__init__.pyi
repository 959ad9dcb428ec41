from ._calibrate_into import calibrate_into as calibrate_into
from ._profile_into import profile_into as profile_into
from ._profile_many_into import profile_many_into as profile_many_into

__all__ = ["calibrate_into", "profile_into", "profile_many_into"]
