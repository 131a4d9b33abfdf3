"""Frozen values shared by every room; imports nothing but attrs and the standard library (numpy in `lidar.py` only)."""
