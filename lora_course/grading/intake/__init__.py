"""From what students hand in to the cells that are graded."""
