"""A Prometheus of the sandbox: samples in system time, rules by the real engine."""
