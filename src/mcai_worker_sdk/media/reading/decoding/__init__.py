"""The packets of one stream become what the worker gets of it."""
