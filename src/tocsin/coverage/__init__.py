"""Which promise of a runbook is proven by which drill, and which by none."""
