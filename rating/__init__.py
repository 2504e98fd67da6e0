"""The rating room; see README.md beside this file."""
