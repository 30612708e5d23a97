"""The command line: ``python -m lib_rankopt COMMAND``; see ``--help`` for the commands.

Exit codes: 0 done; 1 a fault of ours (with ``--verbose``, its trace), or images or rows that had problems;
2 unusable input, said in one sentence; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from lib_rankopt.cli.parser import build_parser
from lib_rankopt.errors import RankOptError

_log = logging.getLogger("rankopt.cli")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. The only place that turns any error into a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a prompt may hold what the terminal's encoding has not
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.WARNING, format="%(name)s: %(message)s")
    try:
        return int(arguments.run(arguments) or 0)
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except RankOptError as error:
        _log.debug("refused", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        _log.debug("failed", exc_info=True)
        print(f"error: {type(error).__name__}: {error} (run with --verbose for the trace)", file=sys.stderr)
        return 1
