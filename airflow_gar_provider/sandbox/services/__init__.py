"""The services that the sandbox plays, one module (or a few) each."""
