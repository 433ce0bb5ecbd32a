"""Amazon CloudWatch: metrics, alarms, notifications."""
