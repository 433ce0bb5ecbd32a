"""One experiment on one target: its plan, its opening, its acts."""
