"""Command line options of the webui; runs before anything is loaded, so only the standard library."""

from __future__ import annotations

from argparse import ArgumentParser


def preload(parser: ArgumentParser) -> None:
    """Add our options."""
    folder = "Rank-Optimize: folder of studies and images (default: rankopt in the webui's data folder)"
    parser.add_argument("--rankopt-data-dir", default=None, help=folder)
    database = "Rank-Optimize: another database, such as postgresql://user:password@host/name"
    parser.add_argument("--rankopt-database-url", default=None, help=database)
    python = "Rank-Optimize: Python of another environment that trains LoRAs (default: the webui's own)"
    parser.add_argument("--rankopt-trainer-python", default=None, help=python)
