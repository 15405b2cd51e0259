"""Fuzz tests of every reader of a user's files: a package, so that its conftest has its own name."""
