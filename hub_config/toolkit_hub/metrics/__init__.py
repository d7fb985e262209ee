"""What the site measures of itself: a sampler of runs, counts of requests, and their form for Prometheus."""
