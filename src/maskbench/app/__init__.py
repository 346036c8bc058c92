"""The web demo: trained models behind a page and an HTTP API, on this machine alone."""
