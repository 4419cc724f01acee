"""How the elements of a cell become one value, whatever the domain.

A reduction asks its domain for services, and imports `core` and, for what is the same for every
domain, `lowering`. Read `mean.py` first.
"""
