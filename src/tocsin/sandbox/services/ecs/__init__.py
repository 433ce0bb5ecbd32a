"""Amazon ECS: services and tasks as local processes."""
