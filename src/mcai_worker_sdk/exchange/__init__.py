"""Where orders come from and responses go."""
