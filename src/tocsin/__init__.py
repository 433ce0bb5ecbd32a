"""Tocsin: break a system on purpose, prove that the bell rings and the rollback works."""

__version__ = "0.1.0"
