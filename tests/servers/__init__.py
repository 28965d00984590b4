"""Real servers under deployd: each with an app of its framework, under load, through good and bad releases."""
