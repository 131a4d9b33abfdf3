"""Judgements; time is an argument, nothing here does I/O."""
