"""The kinds of resources that are thrown away: how each is made, known again, and deleted."""
