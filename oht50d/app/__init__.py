"""Configuration, supervision, wiring and command lines."""
