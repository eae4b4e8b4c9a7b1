"""Where stored jobs live. `base.Store` is what every store promises."""
