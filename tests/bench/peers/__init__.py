"""The same stage on other systems, each in an environment of its own."""
