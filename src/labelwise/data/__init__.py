"""Where examples come from: folders of images, tables, texts, arrays and named sets; every example keeps its index."""
