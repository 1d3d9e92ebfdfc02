"""Numbered migrations of the database; applied in order by `scrutin migrate`."""
