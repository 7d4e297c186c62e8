"""What ztunnel is told: rows -> resources of istio.workload and istio.security."""
