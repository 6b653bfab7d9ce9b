"""The web app: a page and an HTTP API where people name things and see which pixel is which. Needs `catseg[app]`."""
