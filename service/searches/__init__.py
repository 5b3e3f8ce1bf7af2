"""From a query to hits with their items: the stages of a search."""
