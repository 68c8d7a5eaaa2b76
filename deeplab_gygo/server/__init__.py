"""The server: its engine, the HTTP API and the page."""
