"""The providers' documented protocols, limits and faults, to try against."""
