"""``serve``: the ranking board in a browser."""

from __future__ import annotations

from argparse import Namespace

from lib_rankopt.cli.context import data_dir, open_service


def run(arguments: Namespace) -> int:
    """Serve until Ctrl-C."""
    from lib_rankopt.ui.standalone import serve

    with open_service(arguments, resume=True) as service:
        print(f"Studies and images are kept in {data_dir(arguments)}")
        serve(
            service,
            address="0.0.0.0" if arguments.listen else "127.0.0.1",
            port=arguments.port,
            open_browser=not arguments.no_browser,
        )
    return 0
