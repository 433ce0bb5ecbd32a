"""Resources that exist only to be measured: made, looked at, deleted, and seen to be gone.

Each is a fault of a kind: what it breaks is that nothing of its name was there. So it stands in the ledger before it is
made, its undo is its deletion, and `tocsin recover` finishes what a dead run left.
"""
