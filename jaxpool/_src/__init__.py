"""Everything that is private: one folder, a room, for each role.

Imports go down only: pools, filters and regions stand on reductions, these on domains, on
lowering, on core. Read `core/pool.py` first: it has the idea, and the two protocols that all else
implements.
"""
