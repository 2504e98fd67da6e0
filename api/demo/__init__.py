"""The demo: a year of real flights, metered, rated and invoiced through the public API."""
