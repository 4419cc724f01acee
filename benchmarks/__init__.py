"""Measures jaxpool beside other libraries: ``python -m benchmarks --help``.

Not a part of the package that users install. Timings are never asserted by tests.
"""

import os

# Else torch's OpenMP threads spin for some time after a call and slow down whatever runs next.
# Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
