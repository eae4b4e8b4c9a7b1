"""The gateway: HTTP for every language. A client of the broker like any other; it holds nothing that a
restart could lose (docs/http.md)."""
