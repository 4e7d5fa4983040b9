"""What a worker asks of others: the StepFlow backend, the credential stores, the machine itself."""
