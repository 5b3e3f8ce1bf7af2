"""Parts become a gallery: a new one, or a changed copy of one."""
