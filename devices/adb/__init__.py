"""Phones over adb: transports, the phone's state, and benchmark_model on it."""

from latprof.devices.adb._open import SETTINGS, list_phones, open_phone, settings_of
from latprof.devices.adb._transport import Transport

__all__ = ["SETTINGS", "Transport", "list_phones", "open_phone", "settings_of"]
