"""The embedded stand-in for an AWS account: AWS API, plant and replicas."""
