"""What is wrong with the labels: confident learning and its kin, crowd votes, benchmark stability."""
