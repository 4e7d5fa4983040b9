"""Where user code runs: in the job process, in a thread, or inline."""
