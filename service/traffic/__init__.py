"""How much is let in: slow and gone clients, bounded admission, refusals from bytes."""
