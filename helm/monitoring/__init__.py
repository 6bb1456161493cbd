"""Grafana's dashboards, written in Python: `python -m helm.monitoring` writes their JSON into the chart."""
