"""Whether the tests notice faults: `python -m tests.mutants`.

Each of `tests/mutants.tsv`'s small faults is put into a copy of the library, one at a time, and the
tests of its file run against it, as `pytest -k FILE` runs them. What survives is a gap in the tests,
or no fault.
"""
