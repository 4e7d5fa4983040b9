"""What ``process_frames`` returned reaches its destination."""
