"""What is written down: the history of a drill, and the ledger of what is broken."""
