"""Parses and formats the bodies of RabbitMQ and HTTP messages. Pure."""
