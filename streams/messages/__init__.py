"""Bodies of RabbitMQ and HTTP messages as values, and back. Pure."""
