"""Who answers: one file for each kind of agent."""
