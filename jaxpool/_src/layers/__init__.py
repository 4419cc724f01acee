"""Layers, without a framework: fields, parameters, initial values, and the call.

A class has the function's arguments as fields; `jaxpool.linen` and `jaxpool.nnx` make a module of
each by adding it to their own base class, and keep parameters in their own ways. It imports public
functions and what types their arguments have. Read `fields.py` first.
"""
