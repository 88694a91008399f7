"""One page, one file: a pure function from what was gathered to the page's text."""
