"""Tests run in as many processes as there are cores (`pytest -n 0`: in one), so that each computes on one thread."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are loaded
