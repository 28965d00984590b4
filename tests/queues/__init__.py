"""Real queue workers under deployd: every job is counted, through rollouts, bad releases and killed workers."""
