"""Prints in, weights out."""
