"""One decoded picture or piece of sound, and its values as arrays."""

from mcai_worker_sdk.media.model.frame.frame import Frame

__all__ = ["Frame"]
