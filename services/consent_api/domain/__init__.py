"""Pure rules: what is accepted, whom it reaches, and which decision takes effect. Nothing here acts."""
