"""Adapter to RabbitMQ, on pika."""
