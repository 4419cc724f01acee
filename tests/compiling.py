"""Programs as users compile them, also where `conftest.py` has the others compiled quickly."""

import functools
import os

import jax

QUICKLY = "--xla_cpu_use_fusion_emitters=false" in os.environ.get("XLA_FLAGS", "")
DEFAULTS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}

# For tests of values, of memory, and of what XLA makes of large arrays.
as_users = functools.partial(jax.jit, compiler_options=DEFAULTS if QUICKLY else None)
