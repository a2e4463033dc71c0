# Ansible managed
"""gunicorn on worker1: one listener, one single-threaded process for each core the worker is given."""

from imagerec_worker.gunicorn_hooks import child_exit, on_starting  # noqa: F401

bind = ["10.10.1.1:5000"]  # under systemd the socket unit's listener takes its place
backlog = 2048
workers = 2
worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
worker_tmp_dir = "/dev/shm"  # the heartbeat must never wait for a disk
timeout = 30
graceful_timeout = 20
max_requests = 100000
max_requests_jitter = 10000  # processes must not all leave together
# What the balancer lets through is read: a request line of 8 KiB, and four headers of a client. HTTP/2 packs 13 KiB
# into 8, and newer releases of nginx join headers of one name. gunicorn holds up to the product, 3.3 MB, of who comes
# past the balancer.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 32768
accesslog = None  # the balancer keeps the access log
errorlog = "-"
loglevel = "info"
control_socket_disable = True  # nobody commands it but signals, and the sandbox has no home to put a socket in
proc_name = "imagerec worker1"
forwarded_allow_ips = ""
