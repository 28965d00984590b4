"""Attacks on deployd by unprivileged users: each is carried out on a real host and returns what it achieved."""
