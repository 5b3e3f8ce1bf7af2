"""Pictures and captions -> an index folder that the service can trust."""
