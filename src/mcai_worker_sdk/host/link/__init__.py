"""The link between the supervisor and where jobs run."""
