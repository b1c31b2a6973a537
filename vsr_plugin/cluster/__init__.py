"""Work on more than one machine: tasks of restorations and studies on a Ray cluster."""
