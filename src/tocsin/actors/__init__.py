"""Whoever loads or watches the system: actors only write history, they never judge."""
