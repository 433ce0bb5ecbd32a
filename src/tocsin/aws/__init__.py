"""What is known of AWS, one file a service: finding, reading, metric facts, IAM."""
