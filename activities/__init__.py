"""Side effects, thin: they call `closedwon.*` and turn its errors into Temporal failures."""
