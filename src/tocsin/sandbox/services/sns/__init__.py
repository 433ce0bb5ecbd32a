"""Amazon SNS: topics, their subscriptions, and what becomes of a message that nobody takes."""
