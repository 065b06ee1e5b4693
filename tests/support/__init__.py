"""What tests of several rooms share: servers and scripted worlds, never assertions."""
