"""One file a command of `tocsin`."""
