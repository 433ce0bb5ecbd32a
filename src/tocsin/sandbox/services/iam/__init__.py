"""AWS IAM in the sandbox: who may do what, of users, functions, tasks and services."""
