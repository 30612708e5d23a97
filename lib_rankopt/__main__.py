"""``python -m lib_rankopt``."""

import os
import sys

# Read once, when torch loads its OpenMP. A small model is thousands of short parallel regions; threads that spin while they wait for one
# another take the cores from each other as soon as anything else runs: eight pocket images then took 117 s instead of 7.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from lib_rankopt.cli import main

sys.exit(main())
