"""The robot made of bytes, on pseudo-terminals; a leaf that nothing in the package imports."""
