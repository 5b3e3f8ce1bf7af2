"""Generated pictures with captions: the demo, the tests' data, and a place to check claims."""
