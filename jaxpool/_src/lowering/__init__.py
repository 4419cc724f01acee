"""Which XLA operations: the only callers of `lax.reduce_window`, and better forms where measured.

It imports `core` only, knows windows and intervals and no reductions, and checks nothing. Read
`windows.py` first.

Words that are used throughout: a *tap* is an element of a window, by its row-major number;
*cells* are what comes out; *runs* are consecutive taps; *blocks* are as many elements as a
stride; to *pick* is to know which tap a value comes from. What is *materialized* is an array in
memory, which XLA does not fuse into each of its uses; *peeled* borders are windows that reach into
padding, apart from all others; *known* means while tracing.
"""
