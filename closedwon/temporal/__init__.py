"""Everything that Closedwon asks of a Temporal server, as functions of a client; workflows are elsewhere."""
