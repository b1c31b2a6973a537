"""Which pixel shuffles make which scale."""

#: Factors of the pixel shuffles, one after the other, of each scale that a network can have; 4 is the paper's.
SHUFFLES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
