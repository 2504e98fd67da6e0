"""The ingest room; see README.md beside this file."""
