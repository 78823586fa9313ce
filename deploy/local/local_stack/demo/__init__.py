"""`consent-relay demo`: the main job on a made-up population, with faults, on the real servers."""
