"""Bytes to values and back; no clock, no I/O, no logging, no trio."""
