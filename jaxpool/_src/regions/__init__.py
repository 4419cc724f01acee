"""Pools of boxes in one map.

`places.py` has what users pass and turns boxes into places on the map, `sampling.py` has their
weights and picks, and the other files have the functions. Read `align.py` first.
"""
