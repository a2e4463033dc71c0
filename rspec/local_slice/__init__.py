"""A slice on this machine: what a request RSpec asks for, as systemd-nspawn machines with links of their own.

One network namespace (the switch) holds every LAN of a slice, and one more per machine holds its interfaces;
the host itself gets a single interface per slice, for SSH and for the machines' way out. Everything is named
after the slice, so it can be found and removed again whatever happened in between.
"""
