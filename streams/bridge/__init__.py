"""The bridge: votes from RabbitMQ into the log, verdicts from the log to RabbitMQ and Redis."""
