"""Attacks on deployd by those who have no rights on a host: each is carried out for real, and says what it achieved."""
