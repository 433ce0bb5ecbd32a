"""Elastic Load Balancing: application load balancers on loopback."""
