"""imagerec-autoscaler: lets as many workers of a pool serve as its load needs."""
