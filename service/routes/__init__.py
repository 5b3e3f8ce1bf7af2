"""The addresses of the service: they validate, ask the retriever, and shape the answer."""
