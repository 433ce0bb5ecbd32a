"""Guards: who may break what, where, when and for how long. Each says no with exit code 4, and what to change.

    admission   before anything else is asked of the target: account, systems, freeze, window, production, kill switch
    lock        one runner a target, also when the runners do not know of each other
    changes     right before each change: kill switch, freeze, window, opt-in, blast radius
    stopping    while the drill runs: kill switch, stop conditions, window, longest duration
    clock       while the drill runs: the clock that stamps every event does not jump

A guard returns what it found when it lets the drill go on, and raises Refused when it does not. One that cannot be
evaluated is a no: what is not known to be allowed is not allowed.
"""
