"""The one error family. Messages say what was wrong, with the value seen, and what to do about it.

Every subclass also inherits the built-in error that a caller would expect, so either can be caught. Only the borders (user interface,
HTTP API, command line, the webui's hooks) catch broadly.
"""

from __future__ import annotations


class RankOptError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInputError(RankOptError, ValueError):
    """A value given by the user cannot be used (HTTP 422)."""


class NotFoundError(RankOptError, LookupError):
    """A study, round, image, model or option of that name does not exist (HTTP 404)."""


class ConflictError(RankOptError, RuntimeError):
    """The study has moved on: the round is answered already, still running, or another one is (HTTP 409)."""


class NotReadyError(ConflictError):
    """What was asked for is still being made; ask again (HTTP 409)."""


class ModelError(RankOptError, RuntimeError):
    """A checkpoint is missing, broken, or of another family (HTTP 422)."""


class GenerationError(RankOptError, RuntimeError):
    """Sampling failed: not-a-number latents, out of memory (HTTP 500)."""


class GenerationInterrupted(RankOptError):  # an outcome that the user asked for, not a fault
    """Sampling was stopped on request; images already yielded are whole, the others do not exist (HTTP 409)."""


class StoreError(RankOptError, RuntimeError):
    """The store cannot be read or written: disk full, no permission, newer schema (HTTP 507)."""


class MissingDependencyError(RankOptError, ImportError):
    """An optional package is not installed; the message names it and the command that installs it (HTTP 501)."""
