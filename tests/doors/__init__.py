"""The doors: every place where a value enters from outside, and the check that stands there."""
