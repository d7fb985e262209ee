"""What runs on the hub's machine beside the units: set-up, `make run`, supervision. Starts with the standard library alone."""
