"""A worker that computes digests of files."""
