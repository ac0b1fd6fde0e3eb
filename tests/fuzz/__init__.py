"""Seeded requests of every kind that must do no harm; see `python -m tests.fuzz --help`."""
