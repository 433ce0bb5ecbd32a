"""Frozen models of everything that is written, read or judged. Imports nothing else of ours."""
