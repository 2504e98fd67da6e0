"""Drafts looked at by people before they are issued. Read ``open.py`` first: which wait, for whom, and
why."""
