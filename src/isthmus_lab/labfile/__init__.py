"""Reading `lab.yaml`: everything that is wrong with it is told at once, before anything is started."""
