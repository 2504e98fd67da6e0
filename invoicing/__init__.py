"""The invoicing room; see README.md beside this file."""
