"""`make audit`: locked dependencies against the published advisories."""
