"""`tocsin parity`: what is taken to be so because it is so in the sandbox, and whether it is so on a target."""
