"""OME-Zarr in and out, chunk by chunk."""
