"""Contests for several seats: single transferable vote and party lists. Pure, exact arithmetic."""
