"""Which elements feed which cell: windows, whole axes, intervals, groups of channels.

A domain turns the services that `core.pool.Domain` names into calls of `lowering`, and imports
nothing else but `core`. Read `global_.py` first, the smallest.
"""
