"""What tests of several packages share: servers and scripted worlds, never assertions."""
