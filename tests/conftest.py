"""Settings of the test run itself."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `python -m lib_rankopt` does, and for the servers that tests start
