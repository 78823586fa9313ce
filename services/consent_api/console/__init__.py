"""The console: pages for employees, behind a session that an API key begins. docs/console.md"""
