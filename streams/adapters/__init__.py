"""One package per external system; driver errors are translated here."""
