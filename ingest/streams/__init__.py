"""Streams: events come in from a broker or a watched folder, and the sender is told when they are on disk.

A source hands over messages; their records are taken in together; only then is the source told to forget
them. A crash anywhere leaves messages that come again, and their records count as duplicates.
"""
