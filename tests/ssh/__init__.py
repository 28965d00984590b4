"""Hosts with a real sshd, for what reaches deployd over ssh."""
