"""Sources of whole documents (TTML, JSON, ...), which FFmpeg has no reader for."""
