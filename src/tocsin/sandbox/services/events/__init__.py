"""Amazon EventBridge: event buses, rules, targets, archives, replays, and the schedules of EventBridge Scheduler."""
