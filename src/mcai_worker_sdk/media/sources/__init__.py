"""An address becomes a source: opened, described, ready to be read."""
