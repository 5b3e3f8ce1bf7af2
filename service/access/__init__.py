"""Who may ask: keys, sessions, rates, host names, and headers for browsers."""
