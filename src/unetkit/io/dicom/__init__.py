"""DICOM: series of slices, files of several frames, segmentations and contours, placed as NIfTI volumes are."""
