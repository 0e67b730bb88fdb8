"""The jobs of the tasks other than classification, one file each."""
