"""The Ansible collection, with the Ansible of Debian."""
