"""Plans: which views of a picture an encoder sees, given its size alone, and how they are cut."""
