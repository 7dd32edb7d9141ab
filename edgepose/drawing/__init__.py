"""Drawing on images: people's poses, boxes and ids, and a line of text."""
