"""What a user might take instead, each as a script that empties the same queue of the same no-op jobs."""
