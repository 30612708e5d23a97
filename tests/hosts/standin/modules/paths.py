"""Folders."""

import tempfile

data_path = tempfile.mkdtemp(prefix="rankopt-standin-")
