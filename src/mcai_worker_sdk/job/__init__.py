"""What becomes of a job, wherever it runs."""
