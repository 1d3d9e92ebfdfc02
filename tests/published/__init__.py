"""Published contests counted again, by the counter alone or through the whole chain."""
