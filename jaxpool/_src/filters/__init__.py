"""Filters, whose weights belong to places in the window: blurs and morphology.

They are no pair of a domain and a reduction, and call `lowering` themselves. Read `blur.py`
first.
"""
