"""HTTP API under ``/rankopt/v1``: :func:`mount` adds it to any FastAPI application (the webui's, or the standalone's own)."""

from lib_rankopt.api.app import PREFIX, build_app, mount

__all__ = ["PREFIX", "build_app", "mount"]
