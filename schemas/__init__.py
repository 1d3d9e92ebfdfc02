"""Message and envelope types, one file per message.

Everything in Kafka is a `msgspec` struct in MessagePack, written as an array whose first element
names the type and its version (``"votes/1"``). A reader that finds an unknown name stops; it never
guesses.
"""
