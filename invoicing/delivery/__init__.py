"""How documents leave the house: an outbox, its channels, and what comes back. Read ``deliver.py`` first."""
