"""oht50d: one Trio process that runs an OHT-50 overhead hoist transport robot."""

__version__ = "0.1.0"
