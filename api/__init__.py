"""The api room; see README.md beside this file."""
