"""The job process: how it starts, runs, is watched and ends."""
