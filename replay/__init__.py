"""Replay: what was received in a stretch of time, decided again by today's code, beside what is live."""
