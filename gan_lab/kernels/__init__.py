"""Faster forms of something plain elsewhere, each with a test that it is equal."""
