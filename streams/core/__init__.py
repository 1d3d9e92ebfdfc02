"""The decisions: pure functions and values, no driver, no clock, no Faust."""
