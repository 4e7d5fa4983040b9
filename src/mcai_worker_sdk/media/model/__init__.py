"""What the worker is told of a source, what it asks for, and what it is given."""
