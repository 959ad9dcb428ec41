"""Commands of latency tables, ``table`` and ``zoo``; each module loads when its command runs."""

__all__: list[str] = []
