"""The job state machine, without I/O: ``feed(event)`` answers with a list of effects."""
