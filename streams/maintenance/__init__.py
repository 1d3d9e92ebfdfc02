"""Rebuild what follows from the log (derived topics, the database), and the log itself.

A rebuild applies the same transitions as the workers: same decisions, rows and transactions. It
compares, changes what differs, and compares again. A second run continues where the first ended.
"""
