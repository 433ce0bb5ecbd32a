"""What people write: the one door for files, targets, contracts, and where things lie."""
