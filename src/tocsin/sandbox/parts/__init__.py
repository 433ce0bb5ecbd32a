"""Real servers behind one seam: from wheels, or from images."""
