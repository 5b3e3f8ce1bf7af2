"""What searches look up beside vectors: columns for filters, words for full text."""
