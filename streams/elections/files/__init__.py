"""Ballot files of other programs: read line by line, and written."""
