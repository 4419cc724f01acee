"""Pools of boxes in maps.

`places.py` has what users pass and turns boxes into places on the map. `corners.py` finds the
pixels around these and walks over them, `matrices.py` multiplies maps by matrices of weights,
`products.py` does so for maps of several images, and `maxima.py` picks. `sampling.py` chooses
between these, and the other files have the functions. Read `align.py` first.
"""
