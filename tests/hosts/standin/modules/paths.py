"""Folders."""

import tempfile

data_path = models_path = tempfile.mkdtemp(prefix="rankopt-standin-")
