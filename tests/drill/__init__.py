"""Causes the fault behind each alert on the running system, and follows the runbook until the alert is gone."""
