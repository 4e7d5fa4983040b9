"""What crosses the wire: orders in, responses out. Parse and dump; no I/O, no clock, no logging."""
