"""``python -m lib_rankopt``."""

import sys

from lib_rankopt.cli import main

sys.exit(main())
