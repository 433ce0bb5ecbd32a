"""The AWS services of the sandbox, one file or folder each; `catalogue` lists them."""
