"""The page in the browser: choose, preview, estimate, and a queue of jobs, each of which is the command of its own."""
