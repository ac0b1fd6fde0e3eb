"""Faults under load, and whether all that was promised is there afterwards; see `python -m tests.chaos --help`."""
