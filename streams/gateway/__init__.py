"""The gateway: votes in over HTTP, results and live updates out, and the pages."""
