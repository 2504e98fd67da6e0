"""The rollup room; see README.md beside this file."""
