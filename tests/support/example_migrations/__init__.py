"""Three migrations of a big table as docs/upgrade.md asks for them, after all of ours."""
