"""The page on which a person looks at suspects and decides."""
