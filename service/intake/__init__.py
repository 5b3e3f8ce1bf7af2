"""What is searched with, read within bounds: bodies, uploads, pictures by URL."""
