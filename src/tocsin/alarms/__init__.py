"""CloudWatch alarm evaluation, deadlines and feasibility."""
