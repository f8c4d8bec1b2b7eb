"""Benchmarks: every server in turn on one core, loaded from the other, measured by the CPU time that a
request costs.

`python -m benchmarks prepare` once, then `python -m benchmarks`. The documentation is docs/performance.rst.
"""
