"""An AWS account in memory, asked through botocore, on a clock that only moves when somebody sleeps."""
