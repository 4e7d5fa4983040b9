"""A worker that greets."""
