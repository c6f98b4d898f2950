"""Home of the rules for a cut, one a file, and of what they stand on: `basis`, normal scores, and `labelled`, defects.

What may be relied on: `certified`, `recall`, `precision`; exact for one run: `capacity`; estimates and conventions
without a guarantee: `cost`, `f_beta`, `sigma`, `peaks`. `curve` shows many cuts at once.
"""
