"""What masks hold: classes, objects and their borders; numpy arrays in and out."""
