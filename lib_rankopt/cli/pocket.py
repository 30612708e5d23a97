"""``pocket export``: the embedded model for other programs."""

from __future__ import annotations

from argparse import Namespace

from lib_rankopt.cli.context import print_json


def run(arguments: Namespace) -> int:
    """Write the model and say where."""
    from lib_rankopt.diffusion.pocket import export

    written = export.export_diffusers(arguments.diffusers) if arguments.diffusers else export.export_webui(arguments.webui)
    if arguments.json:
        print_json({"path": str(written)})
    else:
        print(f"Pocket model written to {written}")
    return 0
