"""A worker for Media Cloud AI."""
