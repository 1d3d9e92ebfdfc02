"""The bridge: copies votes from RabbitMQ to the log, verdicts from there to RabbitMQ and Redis."""
