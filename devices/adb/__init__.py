"""Phones over adb: transports, the phone's state, and benchmark_model on it."""

from latprof.devices.adb._open import list_phones, open_phone
from latprof.devices.adb._settings import PHONE_SETTINGS, settings_of
from latprof.devices.adb._transport import Transport

__all__ = ["PHONE_SETTINGS", "Transport", "list_phones", "open_phone", "settings_of"]
