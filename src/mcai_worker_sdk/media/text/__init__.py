"""Packets of subtitles become cues."""
