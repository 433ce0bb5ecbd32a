"""Amazon ElastiCache on real Valkey."""
