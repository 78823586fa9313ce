"""Documents for persons, as HTML and PDF from one description."""
