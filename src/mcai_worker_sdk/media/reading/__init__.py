"""The packets of a source become frames, in threads ahead of the worker."""
