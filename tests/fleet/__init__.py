"""Several hosts that agree by keys of an etcd."""
