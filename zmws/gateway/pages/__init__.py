"""The pages: what a person sees and steers in a browser, under /ui/ (docs/pages.md)."""
