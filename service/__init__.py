"""The search service: HTTP in front of an index and the encoder that made it.

The walk of a query: `routes.search` validates -> `retriever` decodes, encodes and searches, off
the event loop -> `filled_answers` puts it into an answer. No tensor in a route, no HTTP below
`routes`.
"""
