"""What a CRM tells of: customers, the catalogue, opportunities, quotes. Read ``inbox.py`` first."""
