"""To see what happens: metrics, a line of log for every request."""
