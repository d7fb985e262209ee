"""What the service does with volumes beside answering requests: commits that take long, and measuring how much is taken."""
