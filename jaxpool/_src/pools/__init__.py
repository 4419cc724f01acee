"""The named functions: a domain times a reduction with arguments spelled out, and their like.

Here are the docstrings that users read. A file has one family, over windows and over whole axes.
It may import all rooms below. Read `max.py` first.
"""
