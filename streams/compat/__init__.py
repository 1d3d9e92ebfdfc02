"""Recorded conversations with clients of the replaced systems, and what plays them."""
