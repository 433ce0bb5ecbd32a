"""CloudFormation: ministack keeps stacks and change sets; what a stack is made of is made here, by requests."""
