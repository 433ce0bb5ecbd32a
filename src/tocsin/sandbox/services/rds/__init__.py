"""Amazon RDS and RDS Proxy on real PostgreSQL."""
