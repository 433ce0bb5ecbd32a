"""Guards: who may break what, where, when and for how long. Each says no with exit code 4, and what to change.

A guard returns what it found when it lets the drill go on, and raises Refused when it does not. One that cannot be
evaluated is a no.
"""
