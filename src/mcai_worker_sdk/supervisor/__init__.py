"""Composes exchange, lifecycle, host and services into a worker that runs."""
