"""Noise schedules."""

from types import SimpleNamespace

schedulers = [SimpleNamespace(label=name) for name in ("Automatic", "Karras", "Exponential")]
