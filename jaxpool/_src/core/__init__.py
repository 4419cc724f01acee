"""What every pooling goes through: user's arguments, where windows lie, `pool` itself.

It imports nothing of the library. Read `pool.py` first, for the protocols of domains and
reductions; then `geometry.py` for what a window is along one axis. `arguments.py` and
`parameters.py` hold every check and error message, and `program.py` makes one program of each
call.
"""
