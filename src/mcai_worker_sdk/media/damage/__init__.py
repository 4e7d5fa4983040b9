"""What is broken in a source: counted while it is read, judged when it ends."""
