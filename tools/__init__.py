"""Scripts for those who take this code over."""
