"""The main job: check, audit, learn, trust, report."""
