"""Pictures for people: comparisons of results, the course of a training, what a network does with a clip."""
