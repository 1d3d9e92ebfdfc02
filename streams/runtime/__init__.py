"""Process plumbing that knows no service: outages, failpoints, logs, metrics, memory."""
